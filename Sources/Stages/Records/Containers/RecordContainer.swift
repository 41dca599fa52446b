import Foundation
import PipelineSpec
import Tokenizers

/// A record as it stands in a file: named values in their order, of which nothing is understood yet.
struct RawRecord: Sendable {
    let fields: [(key: String, value: OrderedJSON)]
    let place: RecordPlace
    /// The bytes of the file's text up to the end of the record.
    let end: Int64
}

/// A way to find records in the text of a file, whatever they mean. Packing is not its business: ``PinnedText``
/// unpacks.
///
/// A container is one file and one line in ``RecordContainers``.
protocol RecordContainer: SendableMetatype {
    /// What it is, for the report.
    static var name: String { get }

    /// Whether a file holds this.
    ///
    /// - Parameters:
    ///   - fileExtension: The ending of the file's name, in lower case and without `.gz`.
    ///   - start: The first bytes of its text, without a byte order mark.
    static func recognises(fileExtension: String, start: Data) -> Bool

    /// Calls `body` with every record in order; with a ``BadRecord`` for one that cannot be read.
    ///
    /// - Parameter passageBytes: Bytes of a passage, for text without records.
    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws
}

/// The containers this build reads, in the order they are asked.
enum RecordContainers {
    static let all: [any RecordContainer.Type] = [
        IDXContainer.self, ImageContainer.self, CommaSeparatedContainer.self, TabSeparatedContainer.self,
        JSONLinesContainer.self, JSONContainer.self, PlainTextContainer.self,
    ]

    /// How many bytes of a file's text are looked at: an object of a whole line should be among them.
    static let startLength = 1 << 20

    /// The container of a file. Where `isText` is set, what is not known as anything else by its name is plain text,
    /// even when it looks like JSON.
    static func container(of file: PinnedFile, isText: Bool) throws -> any RecordContainer.Type {
        let text = PinnedText(file: file)
        var start = try text.start(startLength)
        if start.starts(with: [0xEF, 0xBB, 0xBF]) { start = start.dropFirst(3) }
        let fileExtension = text.fileExtension
        if isText, !knownExtensions.contains(fileExtension) { return PlainTextContainer.self }
        return all.first { $0.recognises(fileExtension: fileExtension, start: start) } ?? PlainTextContainer.self
    }

    /// Endings that say what a file holds.
    private static let knownExtensions: Set<String> = ["jsonl", "ndjson", "json", "csv", "tsv"]
}

extension Data {
    /// The first byte that is no white space.
    var firstVisibleByte: UInt8? { first { !$0.isJSONSpace } }
}

extension UInt8 {
    /// Whether the byte is white space to JSON.
    var isJSONSpace: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
}
