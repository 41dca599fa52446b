import PipelineSpec
import Tokenizers
import Training

/// Two texts that belong together, perhaps with how alike they are.
enum PairFormat: RecordFormat {
    static let name = JobManifest.DataFormat.pairs
    static let shape = "pairs {anchor, positive} or {sentence1, sentence2, score}"

    /// What the texts are called where they are not called `text` and `text_pair`.
    private static let textNames = ["text", "anchor", "sentence1", "query", "question1", "premise"]
    private static let pairNames = ["text_pair", "positive", "sentence2", "question2", "hypothesis"]

    static func recognise(_ fields: RecordFields) -> [String]? {
        guard let first = name("text", Self.textNames, fields), let second = name("text_pair", Self.pairNames, fields)
        else { return nil }
        let score = fields.name(of: "score")
        // Two texts and a label are for a choice between classes.
        return score != nil || fields.name(of: "label") == nil ? [first, second] + (score.map { [$0] } ?? []) : nil
    }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        var texts: [String] = []
        for (part, names) in [("text", Self.textNames), ("text_pair", Self.pairNames)] {
            guard let name = name(part, names, fields) else {
                throw UnusableRecord(reason: "the field \"\(fields.columns[part] ?? names[1])\" is missing")
            }
            let text = try RecordFields(values: fields.values, columns: [part: name]).string(part)
            guard !text.isEmpty else { throw UnusableRecord(reason: "the field \"\(name)\" is empty") }
            texts.append(text)
        }
        return TextPair(first: texts[0], second: texts[1], score: try score(fields))
    }

    private static func score(_ fields: RecordFields) throws(UnusableRecord) -> Float? {
        guard let value = fields.value("score") else { return nil }
        let number: Double? =
            switch value {
            case .integer(let whole): Double(whole)
            case .number(let number): number
            // As tables have it.
            case .string(let text): Double(text)
            default: nil
            }
        guard let number, (-1...1).contains(number) else {
            throw UnusableRecord(
                reason:
                    "the score is no number from -1 to 1, which is what a cosine can be; divide by the scale it is on")
        }
        return Float(number)
    }

    private static func name(_ part: String, _ names: [String], _ fields: RecordFields) -> String? {
        if fields.columns[part] != nil { return fields.name(of: part) }
        return names.first { name in fields.values.contains { $0.key == name } }
    }
}

/// Two texts whose embeddings are to be near: as near as a score says or, without one, nearer than the other pairs of the
/// batch are to them.
struct TextPair: RecordContent {
    static let tasks: [JobManifest.Task] = [.embedding]

    let first: String
    let second: String
    let score: Float?

    var identity: String { [first, second, score.map { "\($0)" } ?? ""].joined(separator: "\u{1E}") }

    private var label: SequenceLabel { score.map { .values([$0]) } ?? .class(0) }

    /// Both texts with their own special tokens, one behind the other; the types tell where the second begins.
    private func joined(_ parts: [[Int32]]) -> EncodedExample {
        let ids = parts.flatMap { $0 }
        return EncodedExample(
            ids: ids, scored: [Bool](repeating: false, count: ids.count), label: label,
            types: parts.enumerated().flatMap { [UInt8](repeating: UInt8($0.offset), count: $0.element.count) })
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        [joined(try [first, second].map { try encoder.example(judging: $0, nil, as: label).ids })]
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        let parts = try [first, second].compactMap { try encoder.shortExample(judging: $0, nil, as: label)?.ids }
        return parts.count == 2 ? [joined(parts)] : nil
    }
}
