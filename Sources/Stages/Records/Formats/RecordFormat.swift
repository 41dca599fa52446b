import Foundation
import PipelineSpec
import Tokenizers

/// What the fields of a record mean.
///
/// A format is one file and one line in ``RecordFormats``; where its records come from is a ``RecordContainer``'s
/// business.
protocol RecordFormat: SendableMetatype {
    /// Its name in the manifest.
    static var name: JobManifest.DataFormat { get }
    /// The fields it is known by, for people whose file has others.
    static var shape: String { get }
    /// Whether its records name classes.
    static var namesClasses: Bool { get }

    /// The fields that say that a record is of this format; `nil` when it is not.
    static func recognise(_ fields: RecordFields) -> [String]?

    /// What a record says.
    ///
    /// - Throws: ``UnusableRecord`` naming the field that is missing or is something else.
    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent
}

extension RecordFormat {
    static var namesClasses: Bool { false }
}

/// The fields of a record, found by what they mean.
struct RecordFields: Sendable {
    let values: [(key: String, value: OrderedJSON)]
    /// `data.columns`: what a part is to the record's own name for it.
    let columns: [String: String]

    /// Names that are as usual as the part's own. `data.columns` wins over them.
    private static let otherNames: [String: [String]] = [
        "completion": ["response", "answer"],
        "messages": ["conversations", "conversation"],
        "text_pair": ["sentence2", "question2", "hypothesis"],
        "label": ["category", "intent", "class"],
        "tokens": ["words"],
        "tags": ["ner_tags", "pos_tags", "chunk_tags", "labels"],
        "score": ["similarity", "similarity_score"],
        "image": ["file_name", "image_path"],
    ]

    /// The record's own name of a part that it has.
    func name(of part: String) -> String? {
        if let column = columns[part] { return has(column) ? column : nil }
        return ([part] + (Self.otherNames[part] ?? [])).first(where: has)
    }

    /// The value of a part; `nil` where it is missing or null.
    func value(_ part: String) -> OrderedJSON? {
        guard let name = name(of: part), let value = values.last(where: { $0.key == name })?.value else { return nil }
        if case .null = value { return nil }
        return value
    }

    /// The text of a part.
    func string(_ part: String) throws(UnusableRecord) -> String {
        guard let text = try optionalString(part) else {
            throw UnusableRecord(reason: "the field \"\(columns[part] ?? part)\" is missing")
        }
        return text
    }

    /// The text of a part that need not be there.
    func optionalString(_ part: String) throws(UnusableRecord) -> String? {
        guard let value = value(part) else { return nil }
        guard case .string(let text) = value else {
            throw UnusableRecord(
                reason: "the field \"\(name(of: part) ?? part)\" is not a string but \(value.kind)")
        }
        return text
    }

    /// The record's own names of all of the parts; `nil` unless it has each.
    func names(of parts: String...) -> [String]? {
        let found = parts.compactMap { name(of: $0) }
        return found.count == parts.count ? found : nil
    }

    private func has(_ key: String) -> Bool { values.contains { $0.key == key } }
}

/// The formats this build reads, in the order in which `auto` tries them: those with more fields before those with
/// fewer.
enum RecordFormats {
    static let all: [any RecordFormat.Type] = [
        PreferenceFormat.self, ChatFormat.self, AlpacaFormat.self, CompletionFormat.self, ImageFormat.self,
        TaggedFormat.self, PairFormat.self, ClassificationFormat.self, TextFormat.self,
    ]

    /// The format of a file, and why it is that.
    struct Choice {
        let format: any RecordFormat.Type
        /// A sentence, for the report.
        let reason: String
    }

    /// The format that the manifest names or, for `auto`, the first that knows the fields of the file's first record.
    ///
    /// - Parameter first: The first record that can be read; `nil` in a file without one, such as that of a quiet day.
    static func choose(
        _ data: JobManifest.Data, container: any RecordContainer.Type, first: RawRecord?
    ) throws -> Choice {
        if let named = all.first(where: { $0.name == data.format }) {
            return Choice(format: named, reason: "\(named.name.rawValue) in \(container.name), as data.format says")
        }
        guard let first else {
            return Choice(format: TextFormat.self, reason: "\(container.name) without a record that can be read")
        }
        let fields = RecordFields(values: first.fields, columns: data.columns)
        for format in all {
            guard let names = format.recognise(fields) else { continue }
            guard container != PlainTextContainer.self else {
                return Choice(format: format, reason: "\(format.name.rawValue), because the file is plain text")
            }
            let list = names.map { "\"\($0)\"" }.joined(separator: ", ")
            return Choice(
                format: format,
                reason: "\(format.name.rawValue) in \(container.name), because the first record has \(list)")
        }
        let seen = first.fields.map { "\"\(PrintableText.line($0.key, limit: 40))\"" }.prefix(20)
        throw StageError(
            "unknown_format",
            "\(first.place): the first record has the fields \(seen.joined(separator: ", ")); "
                + "auto knows \(all.map { $0.shape }.joined(separator: "; ")). "
                + "Name the fields under data.columns, such as {prompt: question, completion: answer}, or set data.format"
        )
    }
}
