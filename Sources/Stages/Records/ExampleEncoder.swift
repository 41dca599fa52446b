import Foundation
import PipelineSpec
import Tokenizers
import Training

/// Token ids of one example, and which of them are learned.
struct EncodedExample: Sendable, Equatable {
    var ids: [Int32]
    /// One flag a token; `nil` when all are learned.
    var scored: [Bool]?
    /// What the example is to be judged as, where its record says so.
    var label: SequenceLabel?
    /// Which text of a pair each token belongs to; `nil` when there is one.
    var types: [UInt8]?

    init(ids: [Int32], scored: [Bool]? = nil, label: SequenceLabel? = nil, types: [UInt8]? = nil) {
        self.ids = ids
        self.scored = scored
        self.label = label
        self.types = types
    }

    /// Tokens of the longer of two texts that are one sequence.
    var longestText: Int {
        guard let types else { return ids.count }
        let second = types.count { $0 != 0 }
        return max(second, ids.count - second)
    }

    /// Tokens that are predicted and count, of which the first of a sequence never is one; where none does, how much
    /// the label asks for.
    var targetCount: Int {
        guard let scored else { return max(ids.count - 1, 0) }
        let tokens = scored.dropFirst().count { $0 }
        return tokens > 0 ? tokens : label?.targetCount ?? 0
    }
}

/// What became of one record.
struct EncodedRecord: Sendable {
    enum Outcome: Sendable {
        /// As it is; running text in blocks.
        case kept
        /// Something of it was left out, because it was too long.
        case truncated
        /// Left out, because it was too long.
        case overlength
        /// Left out, because no token of it would be learned.
        case nothingToLearn
        /// Broken, in a way that only the tokenizer or the chat template shows; it counts as a bad record.
        case bad(BadRecord)
    }

    var outcome: Outcome
    /// Nothing unless kept or truncated.
    var examples: [EncodedExample] = []
    /// Tokens of its longest sequence before anything was left out; for running text, of a block.
    var length = 0
}

/// Turns records into sequences of at most `maxLength` tokens. A value without state of its own: any number of threads
/// may use it at once.
struct ExampleEncoder: Sendable {
    /// The folder of base and tokenizer, for messages.
    let folder: String
    private let textTokenizer: Tokenizer?
    let vocabularySize: Int
    let maxLength: Int
    let overlength: JobManifest.Overlength
    /// Roles of a chat whose messages are learned.
    let trainOn: Set<String>
    /// How conversations become text.
    let chat: ChatSource
    /// The classes of the job; `nil` while they are not known, and then a label that is a name has no index.
    var classes: ClassNames?
    /// Whether an example ends with the tokenizer's end token, which is then learned, so that the model learns to stop.
    var addsEnd = true
    /// Whether what reads the examples compares two of them; else preferences are refused.
    var comparesExamples = false
    /// What is learned: it decides what of a record is read, and what of it is asked for. Never `auto`.
    var task = JobManifest.Task.causalLM
    /// What brings images to the model's size, where images are read.
    var images: ImageEncoder?

    /// Where the text of a conversation comes from.
    enum ChatSource: Sendable {
        /// The base has no chat template.
        case none
        /// The base's own, which writes all special tokens itself.
        case model(ChatTemplate)
        /// One of ours; the tokenizer adds its special tokens around the whole.
        case builtIn(ChatTemplate)
        /// The base has one that cannot be read, which matters only to conversations.
        case broken(reason: String)
    }

    /// What a template that prints the date sees: a fixed day, so that equal data stays equal from night to night. It
    /// is the one that templates of the Llama 3 line fall back to.
    private static let clock = Date(timeIntervalSince1970: 1_721_995_200)

    /// - Parameters:
    ///   - folder: The folder of the base.
    ///   - maxLength: Most tokens of a sequence, at most the model's context.
    ///   - tokenizer: `nil` where no text is read.
    init(folder: URL, tokenizer: Tokenizer?, vocabularySize: Int, maxLength: Int, data: JobManifest.Data) throws {
        self.folder = folder.path
        textTokenizer = tokenizer
        self.vocabularySize = vocabularySize
        self.maxLength = maxLength
        overlength = data.overlength
        trainOn = Set(data.trainOn)
        classes = data.labels.isEmpty ? nil : ClassNames(data.labels)
        switch data.chatTemplate {
        case .chatml: chat = .builtIn(try ChatTemplate(Self.chatML, file: "chatml"))
        case .model:
            do {
                chat = try ChatTemplate.load(folder: folder).map { .model($0) } ?? .none
            } catch let error as TokenizerError {
                chat = .broken(reason: "\(error)")
            }
        }
    }

    /// ChatML: the markers of a turn around role and content, and a call of a tool as JSON.
    private static let chatML = """
        {%- for message in messages -%}
        {{- '<|im_start|>' + message.role + '\\n' + message.content -}}
        {%- for call in message.tool_calls or [] -%}
        {{- '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
        {%- endfor -%}
        {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
        """

    /// The tokenizer of a base that reads text.
    var tokenizer: Tokenizer {
        guard let textTokenizer else { preconditionFailure("\(folder) reads no text") }
        return textTokenizer
    }

    /// The index of a class.
    func index(of label: ClassLabel) throws -> Int {
        guard let classes else {
            throw UnusableRecord(reason: "it is not known which classes there are; list them as data.labels")
        }
        return try classes.resolve(label).index
    }

    /// The sequences a record becomes: blocks of running text, or its examples, or none; and why.
    ///
    /// - Throws: ``StageError`` for what is not the record's fault, and for a record that is too long where
    ///   `data.overlength` is `error`.
    func encode(_ record: Record) throws -> EncodedRecord {
        do {
            guard type(of: record.content).tasks.contains(task) else { throw unsuitable(record) }
            let whole = try record.content.encode(with: self)
            let length = whole.map { task == .embedding ? $0.longestText : $0.ids.count }.max() ?? 0
            guard length > maxLength else { return learnable(whole, .kept, length) }
            switch overlength {
            case .drop:
                return EncodedRecord(outcome: .overlength, length: length)
            case .error:
                throw StageError(
                    "overlength",
                    "\(record.place): the example has \(length) tokens, data.max_length is \(maxLength); "
                        + "raise it, or set data.overlength to drop or truncate")
            case .truncate:
                guard let cut = try record.content.truncate(with: self) else {
                    return EncodedRecord(outcome: .overlength, length: length)
                }
                return learnable(cut, .truncated, length)
            }
        } catch let unusable as UnusableRecord {
            return EncodedRecord(outcome: .bad(BadRecord(place: record.place, reason: unusable.reason)))
        }
    }

    /// What is said of a record that another task could learn from.
    private func unsuitable(_ record: Record) -> StageError {
        let needed = RecordFormats.all.filter { task.formats.contains($0.name) }.map { $0.shape }
        let reason =
            record.content is LabelledImage
            ? "images are for vision models, such as ViT, and \(folder) is none"
            : "what is learned is \(task.rawValue), and the record does not say it"
        return StageError(
            "unsupported",
            "\(record.place): \(reason); it needs \(needed.joined(separator: "; ")), by these names or by data.columns")
    }

    private func learnable(
        _ examples: [EncodedExample], _ outcome: EncodedRecord.Outcome, _ length: Int
    ) -> EncodedRecord {
        guard examples.contains(where: { $0.targetCount > 0 }) else {
            return EncodedRecord(outcome: .nothingToLearn, length: length)
        }
        return EncodedRecord(outcome: outcome, examples: examples, length: length)
    }

    // MARK: What contents are made of

    /// The tokens of a text with their places, special tokens and the end token included.
    ///
    /// - Parameter hasSpecialTokens: Whether the text spells its own special tokens, the end included.
    /// - Throws: ``StageError`` when the model has no embedding for one of them.
    func tokens(of text: String, hasSpecialTokens: Bool = false) throws -> (ids: [Int32], offsets: [Range<Int>]) {
        let encoding = tokenizer.encode(text, addSpecialTokens: !hasSpecialTokens)
        var (ids, offsets) = (encoding.ids, encoding.offsets)
        if addsEnd, !hasSpecialTokens, let end = tokenizer.eosTokenID, ids.last != end {
            let place = text.unicodeScalars.count
            ids.append(end)
            offsets.append(place..<place)
        }
        try requireEmbeddings(for: ids)
        return (ids, offsets)
    }

    private func requireEmbeddings(for ids: [Int32]) throws {
        guard let outside = ids.first(where: { $0 < 0 || Int($0) >= vocabularySize }) else { return }
        throw StageError(
            "vocabulary_mismatch",
            "\(folder): tokenizer.json gives id \(outside) (\"\(tokenizer.token(of: outside) ?? "?")\"), but the model of "
                + "config.json has only \(vocabularySize) embeddings; the tokenizer does not belong to this base")
    }

    /// A text, or a pair, of which only the label is learned.
    func example(judging text: String, _ pair: String?, as label: SequenceLabel) throws -> EncodedExample {
        let encoding =
            pair.map { tokenizer.encode(text, $0, addSpecialTokens: true) }
            ?? tokenizer.encode(text, addSpecialTokens: true)
        try requireEmbeddings(for: encoding.ids)
        return EncodedExample(
            ids: encoding.ids, scored: [Bool](repeating: false, count: encoding.ids.count), label: label,
            types: pair.map { _ in encoding.typeIDs.map { UInt8(clamping: $0) } })
    }

    /// The same with the ends of the texts left out, first that of the longer one; `nil` when nothing fits.
    func shortExample(judging text: String, _ pair: String?, as label: SequenceLabel) throws -> EncodedExample? {
        var texts = [text] + (pair.map { [$0] } ?? [])
        // Cutting may change how the rest is split, so it may take more than one turn.
        for _ in 0..<8 {
            let whole = try example(judging: texts[0], texts.count > 1 ? texts[1] : nil, as: label)
            guard whole.ids.count > maxLength else { return whole }
            let parts = texts.map { tokenizer.encode($0, addSpecialTokens: false).offsets }
            var lengths = parts.map(\.count)
            for _ in maxLength..<whole.ids.count {
                guard let longest = lengths.max(), longest > 0, let index = lengths.lastIndex(of: longest) else {
                    return nil
                }
                lengths[index] -= 1
            }
            for index in texts.indices where lengths[index] < parts[index].count {
                texts[index] = String(texts[index].unicodeScalars.prefix(parts[index][lengths[index]].lowerBound))
            }
        }
        return nil
    }

    /// A prompt and its completion as one sequence.
    ///
    /// They are encoded in one piece, because a token may span their border; a token is learned when it ends beyond the
    /// prompt.
    func example(ofCompletion completion: String, after prompt: String) throws -> EncodedExample {
        let start = prompt.unicodeScalars.count
        let (ids, offsets) = try tokens(of: prompt + completion)
        guard start > 0 else { return EncodedExample(ids: ids) }
        var scored = offsets.map { $0.upperBound > start }
        // The end token stands behind the text; one that the tokenizer itself adds has no place.
        if let last = ids.last, last == tokenizer.eosTokenID { scored[scored.count - 1] = true }
        return EncodedExample(ids: ids, scored: scored)
    }

    /// An example without the first `count` tokens behind the begin token; `nil` where one of them is learned.
    func withoutBeginning(_ example: EncodedExample, removing count: Int) -> EncodedExample? {
        guard count > 0 else { return example }
        guard let scored = example.scored else { return nil }
        let first = example.ids.first == tokenizer.bosTokenID ? 1 : 0
        let removed = first..<(first + count)
        // Something must be left from which the first learned token is predicted.
        guard removed.upperBound < scored.count, !scored[...removed.upperBound].contains(true) else { return nil }
        var cut = example
        cut.ids.removeSubrange(removed)
        cut.scored?.removeSubrange(removed)
        return cut
    }

    /// Whether conversations can be rendered.
    ///
    /// - Throws: ``StageError`` when the base has a template that cannot be read.
    func hasChatTemplate() throws -> Bool {
        switch chat {
        case .none: return false
        case .model, .builtIn: return true
        case .broken(let reason):
            throw StageError(
                "unsupported_chat_template",
                "the chat template of the base cannot be used: \(reason); repair it, or set data.chat_template: chatml")
        }
    }

    /// Refuses preferences unless something reads them that compares.
    func requirePreferences() throws {
        guard comparesExamples else {
            throw StageError(
                "unsupported",
                "the data holds preferences (chosen and rejected answers), and training on those is not built; to learn the "
                    + "chosen answers alone, set data.format: completion and data.columns: {completion: chosen}")
        }
    }

    /// A conversation as one sequence, of which the messages of the roles in `trainOn` are learned, with what ends
    /// them.
    ///
    /// - Parameter start: The first message that may be learned.
    func example(
        of messages: [ChatMessage], tools: [OrderedJSON]?, learningFrom start: Int = 0
    ) throws -> EncodedExample {
        guard try hasChatTemplate() else {
            throw StageError(
                "no_chat_template",
                "\(folder) has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json), so it is "
                    + "not known how it wants conversations written; set data.chat_template: chatml, use the chat version of "
                    + "the base, or write the data as prompt and completion")
        }
        let spans: ChatTemplate.Spans
        let writesSpecialTokens: Bool
        do {
            switch chat {
            case .model(let template):
                spans = try template.spans(
                    messages: messages.map(\.json), tools: tools, trainOn: trainOn, clock: Self.clock)
                writesSpecialTokens = true
            case .builtIn(let template):
                spans = try template.spans(
                    messages: messages.map(\.json), tools: tools, trainOn: trainOn, clock: Self.clock)
                writesSpecialTokens = false
            case .none, .broken: preconditionFailure("there is a template")
            }
        } catch let error as TokenizerError {
            throw UnusableRecord(reason: "the chat template refuses the conversation: \(error.message)")
        }
        let learned = try spans.spans.enumerated().filter { index, span in
            let message =
                try span.message
                ?? Self.assistant(index, of: spans.spans.count, in: messages, matters: start > 0)
            return message >= start && messages[message].isTrained != false
        }.map(\.element.range)
        let (ids, offsets) = try tokens(of: spans.text, hasSpecialTokens: writesSpecialTokens)
        var scored = [Bool](repeating: false, count: ids.count)
        var next = learned[...]
        for (index, place) in offsets.enumerated() {
            while let span = next.first, span.upperBound <= place.lowerBound { next.removeFirst() }
            guard let span = next.first else { break }
            scored[index] = place.upperBound > span.lowerBound && place.lowerBound < span.upperBound
        }
        // The end token that stands behind the text belongs to the last turn, where that is learned.
        if !writesSpecialTokens, let last = ids.last, last == tokenizer.eosTokenID, let span = learned.last,
            span.upperBound == spans.text.unicodeScalars.count
        {
            scored[scored.count - 1] = true
        }
        return EncodedExample(ids: ids, scored: scored)
    }

    /// The message of a span that the template marked itself: the assistant's messages in their order.
    private static func assistant(
        _ index: Int, of count: Int, in messages: [ChatMessage], matters: Bool
    ) throws -> Int {
        let assistants = messages.indices.filter { messages[$0].role == "assistant" }
        if assistants.count == count { return assistants[index] }
        // Which is which matters only where the messages are not all treated alike.
        guard matters || messages.contains(where: { $0.isTrained != nil }) else { return assistants.last ?? 0 }
        throw UnusableRecord(
            reason: "only some answers are to be learned, and the template does not mark each of them by itself")
    }
}
