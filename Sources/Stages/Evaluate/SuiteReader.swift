import Foundation
import Models
import PipelineSpec
import Tokenizers
import Training

/// Turns the records of a suite into examples.
struct SuiteReader {
    /// One example: what is scored, and where it chooses, all answers.
    struct Example {
        var main: EncodedExample
        var answers: [EncodedExample]?
        var answerBytes: [Int] = []
        var answer = 0
    }

    private let suite: JobManifest.Suite
    private let source: RecordSource
    private var encoder: ExampleEncoder
    /// Whether the model says which class it is, and has to be asked about each.
    private let asksClasses: Bool
    private let jobClasses: [String]?
    /// How many classes the suite is about; 0 when it is about none. Known after reading.
    private(set) var classes = 0
    var isAboutClasses: Bool { classes > 0 }

    init(
        _ suite: JobManifest.Suite, base: URL, _ tokenizer: Tokenizer, _ limits: ModelLimits, _ task: JobTask,
        asksClasses: Bool
    ) throws {
        self.suite = suite
        self.asksClasses = asksClasses && task.classes == nil
        jobClasses = task.classes
        var data = JobManifest.Data()
        data.format = JobManifest.DataFormat(rawValue: suite.format.rawValue) ?? .auto
        data.columns = suite.columns
        data.labels = task.classes ?? suite.labels
        data.overlength = .truncate
        let length = min(suite.maxLength ?? limits.contextLength, limits.contextLength)
        encoder = try ExampleEncoder(
            folder: base, tokenizer: tokenizer, vocabularySize: limits.vocabularySize, maxLength: length, data: data)
        encoder.task = task.kind
        source = RecordSource(data: data, passageBytes: 4 * length)
    }

    /// Every example, in the order of the files, or the `limit` whose content hashes lowest.
    ///
    /// - Throws: ``StageError`` that names file and line.
    mutating func read(_ files: [PinnedFile]) throws -> [Example] {
        if encoder.classes == nil {
            encoder.classes = try source.survey(files.filter { try !isChoices($0) }).classes
        }
        classes = encoder.classes?.names.count ?? 0
        var examples: [(hash: UInt64, examples: [Example])] = []
        for file in files {
            try forEachRecord(in: file) { record in
                let encoded = try encoder.encode(record)
                if case .bad(let bad) = encoded.outcome { throw bad }
                let own = try encoded.examples.map { try example($0, record) }
                if !own.isEmpty { examples.append((record.hash, own)) }
            }
        }
        guard let limit = suite.limit else { return examples.flatMap(\.examples) }
        let chosen = examples.indices.sorted { (examples[$0].hash, $0) < (examples[$1].hash, $1) }.prefix(limit)
        return Array(chosen.sorted().flatMap { examples[$0].examples }.prefix(limit))
    }

    private func forEachRecord(in file: PinnedFile, _ body: (Record) throws -> Void) throws {
        guard try isChoices(file) else {
            var reading = RecordReading()
            return try source.forEachRecord(in: [file], &reading, body)
        }
        let container = try RecordContainers.container(of: file, isText: false)
        try container.forEachRecord(in: file, passageBytes: 1 << 20) { result in
            let raw = try result.get()
            let content: ChoiceQuestion
            do throws(UnusableRecord) {
                content = try ChoiceFormat.read(RecordFields(values: raw.fields, columns: suite.columns))
            } catch {
                throw BadRecord(place: raw.place, reason: error.reason)
            }
            try body(Record(content: content, place: raw.place, end: raw.end))
        }
    }

    /// Whether the records are questions with choices, as the manifest says or the first one shows.
    private func isChoices(_ file: PinnedFile) throws -> Bool {
        guard suite.format == .auto else { return suite.format == .choices }
        struct Found: Error { let isChoices: Bool }
        do {
            let container = try RecordContainers.container(of: file, isText: false)
            try container.forEachRecord(in: file, passageBytes: 1 << 20) { result in
                guard case .success(let raw) = result else { return }
                throw Found(
                    isChoices: ChoiceFormat.recognise(RecordFields(values: raw.fields, columns: suite.columns)))
            }
        } catch let found as Found {
            return found.isChoices
        }
        return false
    }

    private func example(_ main: EncodedExample, _ record: Record) throws -> Example {
        var example = Example(main: main)
        if let question = record.content as? ChoiceQuestion {
            let texts = question.choices.indices.map { question.text($0) }
            example.answers = try texts.map { try encoded($0, record) }
            example.answerBytes = question.choices.map(\.utf8.count)
            example.answer = question.answer
        } else if asksClasses, let labelled = record.content as? LabelledText, let names = encoder.classes {
            let answer = try names.resolve(labelled.label)
            example.answers = try names.names.map { name in
                let other = LabelledText(text: labelled.text, pair: labelled.pair, label: .name(name))
                guard let sequence = try other.encode(with: encoder).first else {
                    throw BadRecord(place: record.place, reason: "it has no tokens")
                }
                return sequence
            }
            example.answerBytes = names.names.map(\.utf8.count)
            example.answer = answer.index
        }
        return example
    }

    private func encoded(_ text: PromptedText, _ record: Record) throws -> EncodedExample {
        let all = try text.encode(with: encoder)
        guard let sequence = all.first, sequence.ids.count <= encoder.maxLength else {
            throw BadRecord(
                place: record.place,
                reason: "an answer makes \(all.first?.ids.count ?? 0) tokens, beyond \(encoder.maxLength)")
        }
        return sequence
    }
}
