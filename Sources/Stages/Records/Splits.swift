import Crypto
import Foundation
import PipelineSpec

/// The three parts of a job's data.
enum SplitName: String, CaseIterable, Codable, Sendable {
    case train, validation, test

    /// The file of tokenised examples in a tokenize stage's output.
    var tokensFile: String { "\(rawValue).tokens" }
}

/// Which split each record of the training files belongs to.
///
/// A record's place is decided by the hash of its text, so it stays in its split when the file grows or is reordered,
/// and equal records never sit on both sides. A split that was asked for and would get nothing takes the record with
/// the lowest hash among those left.
struct SplitAssignment: Equatable {
    private let testBelow: Double
    private let validationBelow: Double
    /// Hashes that were moved to fill a split that would have been empty.
    private var moved: [UInt64: SplitName] = [:]

    /// - Parameter hashes: ``hash(_:)`` of every usable record of the training files.
    init(_ data: JobManifest.Data, hashes: [UInt64]) {
        func share(_ split: JobManifest.Split) -> Double {
            if case .fraction(let share) = split { share } else { 0 }
        }
        testBelow = share(data.test)
        validationBelow = testBelow + share(data.validation)
        for wanted in [SplitName.test, .validation] {
            guard share(wanted == .test ? data.test : data.validation) > 0 else { continue }
            guard !hashes.contains(where: { split(of: $0) == wanted }) else { continue }
            let candidates = Set(hashes.filter { split(of: $0) == .train })
            // Training keeps at least one record.
            if candidates.count > 1, let lowest = candidates.min() { moved[lowest] = wanted }
        }
    }

    /// Where a record with this hash goes.
    func split(of hash: UInt64) -> SplitName {
        if let split = moved[hash] { return split }
        let place = Double(hash >> 11) * 0x1p-53
        if place < testBelow { return .test }
        return place < validationBelow ? .validation : .train
    }

    /// The first eight bytes of the SHA-256 of a record's text.
    static func hash(_ text: String) -> UInt64 {
        SHA256.hash(data: Data(text.utf8)).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
