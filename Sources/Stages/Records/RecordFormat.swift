import Foundation
import PipelineSpec

/// A way to read records from data files.
///
/// A format is one file and one line in ``RecordFormats``.
protocol RecordFormat: SendableMetatype {
    /// Its name in the manifest.
    static var name: JobManifest.DataFormat { get }
    /// A sentence for the report of what `auto` chose.
    static var summary: String { get }

    /// Whether files with this ending usually hold this format; decides where a name alone does not.
    static func expects(fileExtension: String) -> Bool

    /// Whether the first record of a file looks like this format: the answer `auto` goes by.
    static func recognises(firstLine: Data, fileExtension: String, columns: [String: String]) -> Bool

    /// Reads every record of a file in order. A broken record is passed as a failure, with its place.
    static func forEachRecord(
        in file: PinnedFile, columns: [String: String], passageBytes: Int,
        _ body: (Result<Record, BadRecord>) throws -> Void
    ) throws
}

/// The formats this build reads, in the order `auto` tries them.
enum RecordFormats {
    static let all: [any RecordFormat.Type] = [CompletionFormat.self, JSONTextFormat.self, PlainTextFormat.self]

    /// The format the manifest names or, for `auto`, the first that recognises the file.
    static func format(for file: PinnedFile, _ data: JobManifest.Data) throws -> any RecordFormat.Type {
        let fileExtension = URL(filePath: file.path).pathExtension.lowercased()
        let named = all.filter { data.format == .auto || $0.name == data.format }
        let first = data.format == .auto ? try firstLine(of: file) : Data()
        let found =
            first.isEmpty
            // A name says which, but for the file's ending; so does a file without records, such as that of a quiet day.
            ? named.first { $0.expects(fileExtension: fileExtension) } ?? named.first
            : named.first { $0.recognises(firstLine: first, fileExtension: fileExtension, columns: data.columns) }
        guard let found else {
            throw StageError(
                "unknown_format",
                "\(file.path): the first record is neither {\"text\": …} nor {\"prompt\": …, \"completion\": …}; "
                    + "name the fields under data.columns or set data.format")
        }
        return found
    }

    private static func firstLine(of file: PinnedFile) throws -> Data {
        struct Found: Error { let line: Data }
        do {
            try LineReader(file: file).forEachLine { line, _, _ in
                if line.contains(where: { $0 != 0x20 && $0 != 0x09 }) { throw Found(line: line) }
            }
        } catch let found as Found {
            return found.line
        }
        return Data()
    }
}

/// Reading one JSON object a line, shared by the formats made of them.
enum JSONLines {
    /// Whether files with this ending usually hold JSON.
    static func isUsual(fileExtension: String) -> Bool { ["jsonl", "ndjson", "json"].contains(fileExtension) }

    /// Calls `read` with each object of the file; what it throws as a `String` reason becomes a ``BadRecord``.
    static func forEachObject(
        in file: PinnedFile, read: ([String: Any]) throws(BadField) -> any RecordContent,
        _ body: (Result<Record, BadRecord>) throws -> Void
    ) throws {
        try LineReader(file: file).forEachLine { line, number, end in
            guard line.contains(where: { $0 != 0x20 && $0 != 0x09 }) else { return }
            let place = RecordPlace(file: file.path, line: number)
            func bad(_ reason: String) -> Result<Record, BadRecord> {
                .failure(BadRecord(place: place, reason: reason))
            }
            let parsed: Any
            do {
                parsed = try JSONSerialization.jsonObject(with: line, options: .fragmentsAllowed)
            } catch {
                return try body(bad("not valid JSON"))
            }
            guard let object = parsed as? [String: Any] else { return try body(bad("not a JSON object")) }
            let result: Result<Record, BadRecord>
            do throws(BadField) {
                result = .success(Record(content: try read(object), place: place, end: end))
            } catch {
                result = bad(error.reason)
            }
            try body(result)
        }
    }

    /// The string under `key`, or under the record's own name for it.
    static func string(_ key: String, in object: [String: Any], _ columns: [String: String]) throws(BadField) -> String
    {
        let name = columns[key] ?? key
        guard let value = object[name] else { throw BadField(reason: "the field \"\(name)\" is missing") }
        guard let text = value as? String else { throw BadField(reason: "the field \"\(name)\" is not a string") }
        return text
    }

    /// A field of a record that cannot be used.
    struct BadField: Error { let reason: String }
}
