import Foundation
import PipelineSpec
import Tokenizers

/// A plain text file, read as passages: whole paragraphs, gathered until a passage is some blocks long.
///
/// A passage is what the splits are made of. Where one ends depends only on the text before it, so a file that grows
/// keeps the passages it had.
enum PlainTextContainer: RecordContainer {
    static let name = "plain text"
    /// Endings of files that are prose even when they begin with a brace.
    static let endings: Set<String> = ["txt", "text", "md", "rst"]

    static func recognises(fileExtension: String, start: Data) -> Bool { true }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        var passage = Data()
        var firstLine = 1
        func finish(nextLine: Int, end: Int64) throws {
            defer {
                passage.removeAll(keepingCapacity: true)
                firstLine = nextLine
            }
            let place = RecordPlace(file: file.path, line: firstLine)
            guard passage.contains(where: { $0 > 0x20 }) else { return }
            guard let text = String(validating: passage, as: UTF8.self) else {
                return try body(
                    .failure(BadRecord(place: place, reason: "the passage that begins here is not valid UTF-8")))
            }
            try body(.success(RawRecord(fields: [("text", .string(text))], place: place, end: end)))
        }
        var position: Int64 = 0
        try LineReader(file: file).forEachLine { line, number, end in
            position = end
            passage.append(line)
            passage.append(UInt8(ascii: "\n"))
            // A text without blank lines is cut at a line's end once a passage is four times as long as asked.
            let isParagraphEnd = line.isEmpty && passage.count >= passageBytes
            if isParagraphEnd || passage.count >= 4 * passageBytes { try finish(nextLine: number + 1, end: end) }
        }
        try finish(nextLine: 0, end: position)
    }
}
