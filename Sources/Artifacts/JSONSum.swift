import Foundation

/// A digest of a JSON object as its own last member, `sum`: of the bytes, so that any that has changed shows.
struct JSONSum {
    /// One line.
    static let line = JSONSum(beginning: ",\"sum\":\"", end: "}")
    /// With each member on a line of its own, indented by two.
    static let lines = JSONSum(beginning: ",\n  \"sum\" : \"", end: "\n}")

    private let beginning: Data
    private let end: Data
    /// Enough against chance, which is all that disks do.
    private static let digits = 16

    private init(beginning: String, end: String) {
        self.beginning = Data(beginning.utf8)
        self.end = Data(end.utf8)
    }

    /// The object with its sum; it has none yet, is not empty and ends as all do of this form.
    func added(to object: Data) -> Data {
        let digest = Digest.sha256(object).dropFirst("sha256:".count).prefix(Self.digits)
        return Data(object.dropLast(end.count)) + beginning + Data("\(digest)\"".utf8) + end
    }

    /// Whether there is a sum, and it is right.
    func isRight(in object: Data) -> Bool {
        let length = beginning.count + Self.digits + 1 + end.count
        guard object.count > length else { return false }
        return added(to: Data(object.dropLast(length)) + end) == Data(object)
    }

    /// Whether an object without a sum may have been written so, by a program that knew no other members than these.
    static func isOlder(_ object: Data, members known: [String]) -> Bool {
        guard let value = try? JSONSerialization.jsonObject(with: Data(object)), let members = value as? [String: Any]
        else { return false }
        return members.keys.allSatisfy(known.contains)
    }
}
