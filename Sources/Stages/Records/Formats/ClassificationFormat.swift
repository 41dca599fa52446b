import PipelineSpec
import Tokenizers
import Training

/// A text, or a pair of texts, and the class it belongs to or the number that is to be given for it.
enum ClassificationFormat: RecordFormat {
    static let name = JobManifest.DataFormat.classification
    static let shape = "classification {text, label} or {text, text_pair, label}"
    static let namesClasses = true

    /// What the first text is called where it is not called `text`.
    private static let textNames = ["text", "sentence", "sentence1", "question1", "premise", "utterance"]

    static func recognise(_ fields: RecordFields) -> [String]? {
        guard let text = textName(fields), let label = fields.name(of: "label") else { return nil }
        return [text] + (fields.name(of: "text_pair").map { [$0] } ?? []) + [label]
    }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        guard let name = textName(fields) else {
            throw UnusableRecord(reason: "the field \"\(fields.columns["text"] ?? "text")\" is missing")
        }
        let renamed = RecordFields(values: fields.values, columns: fields.columns.merging(["text": name]) { $1 })
        let text = try renamed.string("text")
        guard !text.isEmpty else { throw UnusableRecord(reason: "the text is empty") }
        return LabelledText(
            text: text, pair: try renamed.optionalString("text_pair"), label: try ClassLabel(renamed.value("label")))
    }

    private static func textName(_ fields: RecordFields) -> String? {
        if fields.columns["text"] != nil { return fields.name(of: "text") }
        return textNames.first { name in fields.values.contains { $0.key == name } }
    }
}

/// A class, as a record names it, or a number.
enum ClassLabel: Sendable, Equatable {
    case name(String)
    case index(Int)
    /// A number that is no index of a class.
    case number(Double)

    /// Reads a name, a whole number, or a whole number written as text, as tables have them.
    init(_ value: OrderedJSON?) throws(UnusableRecord) {
        switch value {
        case .string(let text)?:
            let name = text.drop { $0 == " " }
            guard !name.isEmpty else { throw UnusableRecord(reason: "the label is empty") }
            self = Int(text).flatMap { "\($0)" == text ? .index($0) : nil } ?? .name(text)
        case .integer(let index)?: self = .index(index)
        case .number(let number)?: self = .number(number)
        case .bool(let isTrue)?: self = .index(isTrue ? 1 : 0)
        case nil: throw UnusableRecord(reason: "the field \"label\" is missing")
        case let other?: throw UnusableRecord(reason: "the label is not a name or a whole number but \(other.kind)")
        }
    }

    var text: String {
        switch self {
        case .name(let name): name
        case .index(let index): String(index)
        case .number(let number): String(number)
        }
    }

    /// The label as a number that fits into 32 bits, also where it is written as text, as tables have it.
    ///
    /// - Throws: ``UnusableRecord`` for a name.
    func value() throws(UnusableRecord) -> Float {
        guard let number = Float(text), number.isFinite else {
            throw UnusableRecord(
                reason:
                    "the label is no number but \"\(PrintableText.line(text, limit: 40))\", and the task is to give one"
            )
        }
        return number
    }

    /// - Throws: ``UnusableRecord`` for a number that can be no class.
    func requireClass() throws(UnusableRecord) {
        guard case .number = self else { return }
        throw UnusableRecord(
            reason:
                "the label \(text) is not a name or a whole number; numbers are learned with task: sequence-regression")
    }
}

/// The classes of a job in their order: an index into it is what a head learns.
struct ClassNames: Sendable, Equatable {
    let names: [String]
    private let indices: [String: Int]

    /// - Parameter names: `data.labels`, in its order.
    init(_ names: [String]) {
        self.names = names
        indices = Dictionary(zip(names, names.indices)) { first, _ in first }
    }

    /// The classes that records name, in an order that does not depend on theirs: numbers by value, then names by
    /// bytes.
    init(found labels: Set<String>) {
        func number(_ text: String) -> Int { Int(text) ?? Int.max }
        self.init(
            labels.sorted { a, b in
                number(a) == number(b) ? a.utf8.lexicographicallyPrecedes(b.utf8) : number(a) < number(b)
            })
    }

    /// The name and the index of a label.
    func resolve(_ label: ClassLabel) throws(UnusableRecord) -> (name: String, index: Int) {
        try label.requireClass()
        if let index = indices[label.text] { return (label.text, index) }
        if case .index(let index) = label, names.indices.contains(index) { return (names[index], index) }
        let known = names.prefix(12).joined(separator: ", ") + (names.count > 12 ? ", …" : "")
        throw UnusableRecord(reason: "the label \"\(label.text)\" is none of data.labels (\(known))")
    }
}

/// A text, or a pair, and its class. For a model that writes text the name of the class is a completion; one with
/// a head for classes reads the text alone.
struct LabelledText: RecordContent {
    static let tasks: [JobManifest.Task] = [.causalLM, .sequenceClassification, .sequenceRegression]

    let text: String
    let pair: String?
    let label: ClassLabel

    var identity: String { [text, pair ?? "", label.text].joined(separator: "\u{1E}") }
    var prose: String? { pair.map { "\(text)\n\($0)" } ?? text }

    private func prompted(for encoder: ExampleEncoder) throws -> (content: PromptedText, label: SequenceLabel?) {
        try label.requireClass()
        let resolved = try encoder.classes?.resolve(label)
        let prompt = text + (pair.map { "\n\($0)" } ?? "") + "\nLabel:"
        let content = PromptedText(prompt: prompt, completion: " " + (resolved?.name ?? label.text))
        return (content, resolved.map { .class(Int32($0.index)) })
    }

    private func labelled(_ examples: [EncodedExample], _ label: SequenceLabel?) -> [EncodedExample] {
        examples.map { EncodedExample(ids: $0.ids, scored: $0.scored, label: label) }
    }

    var labels: [ClassLabel] {
        if case .number = label { return [] }
        return [label]
    }

    /// The label as the head of a model has it; `nil` where a model writes.
    private func judgement(for encoder: ExampleEncoder) throws -> SequenceLabel? {
        switch encoder.task {
        case .sequenceClassification: .class(Int32(try encoder.index(of: label)))
        case .sequenceRegression: .values([try label.value()])
        default: nil
        }
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        if let judgement = try judgement(for: encoder) {
            return [try encoder.example(judging: text, pair, as: judgement)]
        }
        let (content, label) = try prompted(for: encoder)
        return labelled(try content.encode(with: encoder), label)
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        if let judgement = try judgement(for: encoder) {
            return try encoder.shortExample(judging: text, pair, as: judgement).map { [$0] }
        }
        let (content, label) = try prompted(for: encoder)
        return try content.truncate(with: encoder).map { labelled($0, label) }
    }
}
