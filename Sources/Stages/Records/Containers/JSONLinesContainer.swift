import Foundation
import PipelineSpec
import Tokenizers

/// One JSON object a line; blank lines are passed over.
enum JSONLinesContainer: RecordContainer {
    static let name = "JSON lines"

    static func recognises(fileExtension: String, start: Data) -> Bool {
        if ["jsonl", "ndjson"].contains(fileExtension) { return true }
        guard start.firstVisibleByte == UInt8(ascii: "{") else { return false }
        // A file of this name may as well hold one object over many lines, or one that holds a list.
        let text = start.drop { $0.isJSONSpace }
        let line = text.prefix { $0 != UInt8(ascii: "\n") }
        guard case .object? = try? OrderedJSON(parsing: Data(line)) else {
            // Elsewhere a broken first line is a broken record of what the others are.
            let isProse = PlainTextContainer.endings.contains(fileExtension)
            return fileExtension != "json" && !isProse && line.count < text.count
        }
        return fileExtension != "json" || text.dropFirst(line.count).contains { !$0.isJSONSpace }
    }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        try LineReader(file: file).forEachLine { line, number, end in
            guard line.contains(where: { !$0.isJSONSpace }) else { return }
            try body(JSONObjects.record(line, RecordPlace(file: file.path, line: number), end))
        }
    }
}

/// Reading single objects.
enum JSONObjects {
    /// The record that a JSON text is, or why it is none.
    static func record(_ text: Data, _ place: RecordPlace, _ end: Int64) -> Result<RawRecord, BadRecord> {
        do {
            switch try OrderedJSON(parsing: text) {
            case .object(let fields): return .success(RawRecord(fields: fields, place: place, end: end))
            case let other: return .failure(BadRecord(place: place, reason: "not a JSON object but \(other.kind)"))
            }
        } catch {
            return .failure(BadRecord(place: place, reason: "not valid JSON: \(reason(error, isOneLine: true))"))
        }
    }

    /// What the parser says, without the line, which is that of the record.
    static func reason(_ error: any Error, isOneLine: Bool) -> String {
        let text = (error as? TokenizerError)?.message ?? "\(error)"
        return isOneLine && text.hasPrefix("line 1, ") ? String(text.dropFirst("line 1, ".count)) : text
    }
}
