import PipelineSpec
import Tokenizers

/// Instruction, perhaps an input to it, and the output to learn; perhaps a system text and earlier turns before them.
enum AlpacaFormat: RecordFormat {
    static let name = JobManifest.DataFormat.alpaca
    static let shape = "alpaca {instruction, input, output}"

    static func recognise(_ fields: RecordFields) -> [String]? {
        guard let names = fields.names(of: "instruction", "output") else { return nil }
        return names + (fields.name(of: "input").map { [$0] } ?? [])
    }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        let instruction = try fields.string("instruction")
        let input = try fields.optionalString("input") ?? ""
        let output = try fields.string("output")
        guard !output.isEmpty else { throw UnusableRecord(reason: "the output is empty") }
        guard !instruction.isEmpty || !input.isEmpty else { throw UnusableRecord(reason: "the instruction is empty") }
        var history: [AlpacaRecord.Turn] = []
        if let value = fields.value("history") {
            guard case .array(let turns) = value else {
                throw UnusableRecord(reason: "the history is not a list but \(value.kind)")
            }
            for turn in turns {
                guard case .array(let pair) = turn, pair.count == 2, case .string(let question) = pair[0],
                    case .string(let answer) = pair[1]
                else { throw UnusableRecord(reason: "the history is not a list of pairs of texts") }
                history.append(AlpacaRecord.Turn(question: question, answer: answer))
            }
        }
        let system = try fields.optionalString("system")
        return AlpacaRecord(
            system: system?.isEmpty == false ? system : nil, history: history, instruction: instruction, input: input,
            output: output)
    }
}

/// An instruction with its output.
///
/// Where the base has a chat template it becomes a conversation: the input follows the instruction on a line of its
/// own. A base without one gets the prompt that Stanford's Alpaca was trained with, since so many adapters expect it.
struct AlpacaRecord: RecordContent {
    struct Turn: Sendable {
        let question: String
        let answer: String
    }

    let system: String?
    let history: [Turn]
    let instruction: String
    let input: String
    let output: String

    var identity: String {
        ([system ?? ""] + history.flatMap { [$0.question, $0.answer] } + [instruction, input, output])
            .joined(separator: "\u{1E}")
    }

    /// The record as a conversation.
    var conversation: ChatRecord {
        let request = [instruction, input].filter { !$0.isEmpty }.joined(separator: "\n")
        let turns =
            history.flatMap { [ChatMessage("user", $0.question), ChatMessage("assistant", $0.answer)] }
            + [ChatMessage("user", request), ChatMessage("assistant", output)]
        return ChatRecord(messages: (system.map { [ChatMessage("system", $0)] } ?? []) + turns, tools: nil)
    }

    /// The record as Alpaca's prompt, up to where the output begins.
    var prompt: String {
        let task = "Below is an instruction that describes a task"
        let request = "Write a response that appropriately completes the request."
        let opening =
            system
            ?? (input.isEmpty
                ? "\(task). \(request)"
                : "\(task), paired with an input that provides further context. \(request)")
        let earlier = history.map { "### Instruction:\n\($0.question)\n\n### Response:\n\($0.answer)\n\n" }.joined()
        let context = input.isEmpty ? "" : "### Input:\n\(input)\n\n"
        return "\(opening)\n\n\(earlier)### Instruction:\n\(instruction)\n\n\(context)### Response:\n"
    }

    private func content(for encoder: ExampleEncoder) throws -> any RecordContent {
        try encoder.hasChatTemplate() ? conversation : PromptedText(prompt: prompt, completion: output)
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        try content(for: encoder).encode(with: encoder)
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        try content(for: encoder).truncate(with: encoder)
    }
}
