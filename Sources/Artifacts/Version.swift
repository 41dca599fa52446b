package import Foundation
package import PipelineSpec

/// One immutable version of an adapter or a model.
package struct Version: Sendable, Equatable {
    package let collection: ArtifactCollection
    package let name: String
    /// From 1, without gaps except where versions were removed.
    package let number: Int
    /// Of `adapter_model.safetensors`, or for a model of the listing of its files and their digests.
    package let digest: String
    /// The folder, as an absolute URL.
    ///
    /// Whoever uses a version resolves once and then keeps to this.
    package let url: URL
    /// The aliases that point here, sorted; `latest` is among them for the newest version.
    package let aliases: [String]
    package let created: Date
    /// The attempt that published it.
    package let attemptID: String
    /// All of `lorajobs.json`: what the stage recorded, and what the store added.
    ///
    /// `null` in a listing when the file is damaged; resolving such a version fails.
    package let record: JSONValue

    /// `name:42`.
    package var reference: String { "\(name):\(number)" }

    /// The file of a version's folder that holds its record.
    package static let recordFile = "lorajobs.json"
}

/// The part of `lorajobs.json` that the store writes, besides what a stage wrote into it.
struct StoredRecord: Equatable {
    var name: String
    var version: Int
    var attempt: String
    var digest: String
    var created: Date
    /// Every file of the folder except the record itself.
    var files: [String: FileRecord]
    var all: JSONValue

    init(
        adding record: JSONValue, name: String, version: Int, attempt: String, digest: String, created: Date,
        files: [String: FileRecord]
    ) {
        var members: [String: JSONValue] = [:]
        if case .object(let existing) = record { members = existing }
        members["name"] = .string(name)
        members["version"] = .integer(version)
        members["attempt"] = .string(attempt)
        members["digest"] = .string(digest)
        members["created"] = .string(Timestamp.text(created))
        members["files"] = .object(
            files.mapValues { .object(["size": .integer(Int($0.size)), "digest": .string($0.digest)]) })
        self.name = name
        self.version = version
        self.attempt = attempt
        self.digest = digest
        self.created = created
        self.files = files
        self.all = .object(members)
    }

    /// Reads a record back.
    ///
    /// The path is for messages.
    init(_ data: Data, path: String) throws {
        func fail(_ reason: String) -> ArtifactError {
            ArtifactError(
                .damaged, "\(path) is damaged: \(reason); restore the file, or publish the adapter again", path: path)
        }
        do {
            all = try JSONDecoder().decode(JSONValue.self, from: data)
        } catch {
            throw fail("it is not JSON")
        }
        guard let name = all["name"]?.string, let version = all["version"]?.int, let attempt = all["attempt"]?.string,
            let digest = all["digest"]?.string, let created = all["created"]?.string.flatMap(Timestamp.date),
            case .object(let files) = all["files"]
        else { throw fail("name, version, attempt, digest, created and files must all be there") }
        self.name = name
        self.version = version
        self.attempt = attempt
        self.digest = digest
        self.created = created
        self.files = [:]
        for (file, value) in files {
            guard case .integer(let size) = value["size"], let digest = value["digest"]?.string else {
                throw fail("the size or digest of \(file) is missing")
            }
            self.files[file] = FileRecord(size: Int64(size), digest: digest)
        }
    }

    func encoded() -> Data { all.data(pretty: true) + Data("\n".utf8) }
}

/// Moments as the store writes them: ISO 8601 in UTC, to the millisecond.
enum Timestamp {
    static func text(_ date: Date) -> String {
        // Whole milliseconds first, since formatting cuts what is below them off.
        rounded(date).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }

    static func date(_ text: String) -> Date? {
        if let date = try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)) {
            return rounded(date)
        }
        return try? Date(text, strategy: Date.ISO8601FormatStyle())
    }

    /// The date a reader of ``text(_:)`` will see.
    static func rounded(_ date: Date) -> Date {
        Date(timeIntervalSince1970: (date.timeIntervalSince1970 * 1000).rounded() / 1000)
    }
}
