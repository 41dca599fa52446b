import Foundation
import PipelineSpec

/// `{"text": …}` a line: each record is a document of running text.
enum JSONTextFormat: RecordFormat {
    static let name = JobManifest.DataFormat.text
    static let summary = "text: one JSON object a line with text; every token is trained"

    static func expects(fileExtension: String) -> Bool { JSONLines.isUsual(fileExtension: fileExtension) }

    static func recognises(firstLine: Data, fileExtension: String, columns: [String: String]) -> Bool {
        guard let object = try? JSONSerialization.jsonObject(with: firstLine) as? [String: Any] else { return false }
        return object[columns["text"] ?? "text"] != nil
    }

    static func forEachRecord(
        in file: PinnedFile, columns: [String: String], passageBytes: Int,
        _ body: (Result<Record, BadRecord>) throws -> Void
    ) throws {
        try JSONLines.forEachObject(
            in: file,
            read: { object throws(JSONLines.BadField) in
                RunningText(text: try JSONLines.string("text", in: object, columns))
            }, body)
    }
}

/// A plain text file, read as passages: whole paragraphs, gathered until a passage is some blocks long.
///
/// A passage is what the splits are made of. Where one ends depends only on the text before it, so a file that grows keeps
/// the passages it had.
enum PlainTextFormat: RecordFormat {
    static let name = JobManifest.DataFormat.text
    static let summary = "text: plain text in passages of whole paragraphs; every token is trained"

    static func expects(fileExtension: String) -> Bool { !JSONLines.isUsual(fileExtension: fileExtension) }

    static func recognises(firstLine: Data, fileExtension: String, columns: [String: String]) -> Bool {
        expects(fileExtension: fileExtension)
    }

    static func forEachRecord(
        in file: PinnedFile, columns: [String: String], passageBytes: Int,
        _ body: (Result<Record, BadRecord>) throws -> Void
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
            guard let text = String(data: passage, encoding: .utf8) else {
                return try body(
                    .failure(
                        BadRecord(place: place, reason: "the passage that begins here is not valid UTF-8")
                    ))
            }
            try body(.success(Record(content: RunningText(text: text), place: place, end: end)))
        }
        try LineReader(file: file).forEachLine { line, number, end in
            passage.append(line)
            passage.append(UInt8(ascii: "\n"))
            // A text without blank lines is cut at a line's end once a passage is four times as long as asked.
            let isParagraphEnd = line.isEmpty && passage.count >= passageBytes
            if isParagraphEnd || passage.count >= 4 * passageBytes { try finish(nextLine: number + 1, end: end) }
        }
        try finish(nextLine: 0, end: file.length)
    }
}
