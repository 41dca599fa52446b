import PipelineSpec
import Tokenizers
import Training

/// A question with several answers, one of which is right: only suites of an evaluation have these.
enum ChoiceFormat {
    static let shape = "choices {question, choices: [text], answer: index or letter}"

    /// Whether the first record of a file is such a question.
    static func recognise(_ fields: RecordFields) -> Bool {
        fields.values.contains { $0.key == "choices" || $0.key == "endings" }
    }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> ChoiceQuestion {
        func value(_ names: [String]) -> OrderedJSON? {
            for name in names { if let found = fields.values.last(where: { $0.key == name })?.value { return found } }
            return nil
        }
        guard case .string(let question)? = value(["question", "prompt", "text", "context"]) else {
            throw UnusableRecord(reason: "there is no question; expected \(shape)")
        }
        var texts = value(["choices", "endings"])
        // Some published sets have the texts beside their letters.
        var letters: [String] = []
        if case .object(let members)? = texts {
            texts = members.last { $0.key == "text" }?.value
            if case .array(let labels)? = members.last(where: { $0.key == "label" })?.value {
                letters = labels.map { if case .string(let text) = $0 { text } else { "" } }
            }
        }
        guard case .array(let items)? = texts, items.count > 1 else {
            throw UnusableRecord(reason: "\"choices\" is not a list of at least two texts")
        }
        var choices: [String] = []
        for item in items {
            guard case .string(let text) = item, !text.isEmpty else {
                throw UnusableRecord(reason: "\"choices\" holds something that is no text")
            }
            choices.append(text)
        }
        let answer: Int?
        switch value(["answer", "label", "gold", "answerKey"]) {
        case .integer(let index)?: answer = index
        case .string(let text)?: answer = index(of: text, letters, choices)
        default: answer = nil
        }
        guard let answer, choices.indices.contains(answer) else {
            throw UnusableRecord(reason: "\"answer\" is none of the \(choices.count) choices")
        }
        return ChoiceQuestion(question: question, choices: choices, answer: answer)
    }

    /// The place of an answer that is given as a number, as a letter, or as itself.
    private static func index(of text: String, _ letters: [String], _ choices: [String]) -> Int? {
        if let index = letters.firstIndex(of: text) ?? choices.firstIndex(of: text) ?? Int(text) { return index }
        guard text.utf8.count == 1, let byte = text.utf8.first, (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
        else { return nil }
        return Int(byte - UInt8(ascii: "A"))
    }
}

/// A question, its answers, and which one is right. As one example it is the question with the right answer.
struct ChoiceQuestion: RecordContent {
    let question: String
    let choices: [String]
    let answer: Int

    var identity: String { ([question] + choices + ["\(answer)"]).joined(separator: "\u{1E}") }

    /// The question with one of the answers, behind a space unless the question ends in one, as lm-evaluation-harness joins
    /// them.
    func text(_ choice: Int) -> PromptedText {
        let space = question.last?.isWhitespace == true ? "" : " "
        return PromptedText(prompt: question, completion: space + choices[choice])
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] { try text(answer).encode(with: encoder) }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? { try text(answer).truncate(with: encoder) }
}
