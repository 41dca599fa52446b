import Crypto
import Foundation
import PipelineSpec

/// Where a record stands in the data: a file and the line it begins on, from 1.
struct RecordPlace: Sendable, Equatable, CustomStringConvertible {
    let file: String
    let line: Int

    var description: String { "\(file):\(line)" }
}

/// One record as its format understood it, before a tokenizer has seen it.
struct Record: Sendable {
    let content: any RecordContent
    let place: RecordPlace
    /// The bytes of the file's text up to the end of the record; for a file of lines, where the next one begins.
    let end: Int64

    /// The first eight bytes of the SHA-256 of what the record says: the same for equal records wherever they stand.
    var hash: UInt64 { SplitAssignment.hash(content.identity) }
}

/// What a record says, and how it becomes tokens.
///
/// A format brings a type of its own when none of those that exist fits.
protocol RecordContent: Sendable {
    /// What can be learned from it.
    static var tasks: [JobManifest.Task] { get }

    /// The classes it names.
    var labels: [ClassLabel] { get }

    /// All that is read of the record, as one text: records are the same when these are.
    var identity: String { get }

    /// What people have written in it, without labels and roles; `nil` where it is no text.
    var prose: String? { get }

    /// The sequences of the record in full. Only running text is cut, since it has no end of its own.
    ///
    /// - Throws: ``UnusableRecord`` for a record that cannot become tokens; anything else ends the stage.
    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample]

    /// The sequences with something left out, each at most `encoder.maxLength` long; `nil` where nothing that could be
    /// left out makes it fit. The end of what is learned always stays.
    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]?
}

extension RecordContent {
    /// Most are text that is written.
    static var tasks: [JobManifest.Task] { [.causalLM] }
    var labels: [ClassLabel] { [] }
    var prose: String? { identity }
}

/// Why a record cannot become tokens.
struct UnusableRecord: Error {
    let reason: String
}

/// A record that cannot be used, and why.
struct BadRecord: Error, Sendable, CustomStringConvertible {
    let place: RecordPlace
    let reason: String

    var description: String { "\(place): \(reason)" }
}
