import PipelineSpec
import Tokenizers

/// A prompt with an answer that was preferred and one that was not; as texts, or as messages.
enum PreferenceFormat: RecordFormat {
    static let name = JobManifest.DataFormat.preference
    static let shape = "preference {prompt, chosen, rejected}"

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "chosen", "rejected") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        let chosen = try side("chosen", fields)
        let rejected = try side("rejected", fields)
        switch (try prompt(fields), chosen, rejected) {
        case (.text(let prompt)?, .text(let chosen), .text(let rejected)):
            guard !chosen.isEmpty, !rejected.isEmpty else { throw UnusableRecord(reason: "an answer is empty") }
            return PreferredText(prompt: prompt, chosen: chosen, rejected: rejected)
        case (let prompt, let chosen, let rejected):
            var opening = prompt?.messages(as: "user") ?? []
            var answers = [chosen.messages(as: "assistant"), rejected.messages(as: "assistant")]
            if prompt == nil {
                // Both conversations in full: what they share is the prompt.
                let shared = zip(answers[0], answers[1]).prefix { $0.json.compactText == $1.json.compactText }.count
                opening = Array(answers[0].prefix(shared))
                answers = answers.map { Array($0.dropFirst(shared)) }
            }
            guard !opening.isEmpty else { throw UnusableRecord(reason: "the prompt is missing") }
            guard answers.allSatisfy({ $0.contains { $0.role == "assistant" } }) else {
                throw UnusableRecord(reason: "chosen and rejected are the same, or one has no answer")
            }
            return PreferredChat(
                prompt: opening, chosen: answers[0], rejected: answers[1],
                tools: try ChatTools.read(fields.value("tools")))
        }
    }

    private enum Side {
        case text(String)
        case messages([ChatMessage])

        func messages(as role: String) -> [ChatMessage] {
            switch self {
            case .text(let text): [ChatMessage(role, text)]
            case .messages(let messages): messages
            }
        }
    }

    private static func side(_ part: String, _ fields: RecordFields) throws(UnusableRecord) -> Side {
        guard let value = fields.value(part) else {
            throw UnusableRecord(reason: "the field \"\(fields.columns[part] ?? part)\" is missing")
        }
        return try side(value, part)
    }

    private static func side(_ value: OrderedJSON, _ part: String) throws(UnusableRecord) -> Side {
        switch value {
        case .string(let text): return .text(text)
        case .object: return .messages(try ChatMessage.list([value], part))
        case .array(let items): return .messages(try ChatMessage.list(items, part))
        default: throw UnusableRecord(reason: "the field \"\(part)\" is neither text nor messages but \(value.kind)")
        }
    }

    private static func prompt(_ fields: RecordFields) throws(UnusableRecord) -> Side? {
        for part in ["prompt", "messages"] {
            guard let value = fields.value(part) else { continue }
            let prompt = try side(value, part)
            guard let system = try fields.optionalString("system"), !system.isEmpty else { return prompt }
            return .messages([ChatMessage("system", system)] + prompt.messages(as: "user"))
        }
        return nil
    }
}

/// A prompt with two answers to it, as texts. It becomes two sequences, the chosen one first, in which the answer is
/// learned.
struct PreferredText: RecordContent {
    let prompt: String
    let chosen: String
    let rejected: String

    var identity: String { [prompt, chosen, rejected].joined(separator: "\u{1E}") }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        try encoder.requirePreferences()
        return try [chosen, rejected].map { try encoder.example(ofCompletion: $0, after: prompt) }
    }

    /// Leaves out the same beginning of both prompts.
    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        let whole = try encode(with: encoder)
        let excess = (whole.map(\.ids.count).max() ?? 0) - encoder.maxLength
        let cut = whole.compactMap { encoder.withoutBeginning($0, removing: excess) }
        return cut.count == 2 ? cut : nil
    }
}

/// A conversation with two ways to go on. It becomes two sequences, the chosen one first, in which only that part is
/// learned.
struct PreferredChat: RecordContent {
    let prompt: [ChatMessage]
    let chosen: [ChatMessage]
    let rejected: [ChatMessage]
    let tools: [OrderedJSON]?

    var identity: String {
        [prompt, chosen, rejected].map { $0.map(\.json.compactText).joined(separator: "\u{1E}") }
            .joined(separator: "\u{1D}")
    }

    private func examples(_ prompt: [ChatMessage], _ encoder: ExampleEncoder) throws -> [EncodedExample] {
        try encoder.requirePreferences()
        return try [chosen, rejected].map {
            try encoder.example(of: prompt + $0, tools: tools, learningFrom: prompt.count)
        }
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] { try examples(prompt, encoder) }

    /// Leaves out the oldest turns of the prompt; the last one stays.
    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        let opening = prompt.prefix { $0.role == "system" }
        let starts = prompt.indices.filter { $0 > opening.count && prompt[$0].role == "user" }
        for start in starts {
            let cut = try examples(Array(opening) + prompt[start...], encoder)
            if cut.allSatisfy({ $0.ids.count <= encoder.maxLength }) { return cut }
        }
        return nil
    }
}
