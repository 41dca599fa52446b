import Foundation
import Layers
import PipelineSpec
import Tokenizers
import Training

/// What models write in the place of some examples of the test split: `samples.json`.
///
/// It holds text of the data, so it is written only where the manifest asks for it.
struct AnswerSamples {
    static let fileName = "samples.json"
    /// Most tokens of an answer.
    private static let maximum = 96

    /// An example and what became of it.
    struct Sample: Codable, Equatable {
        var prompt: String
        /// What the data say.
        var reference: String
        /// What each model wrote.
        var answers: [EvaluationRole: String] = [:]
    }

    private(set) var samples: [Sample] = []
    private let prompts: [[Int32]]
    private let tokenizer: Tokenizer?

    /// The first examples of a set, of which each is continued where its last part that counts begins; of a text that counts
    /// as a whole, in its middle.
    ///
    /// - Parameter tokenizer: `nil` where no text is read, and nothing is sampled then.
    init(_ count: Int, of set: EvaluationSet?, _ tokenizer: Tokenizer?) {
        self.tokenizer = tokenizer
        var prompts: [[Int32]] = []
        for index in 0..<min(count, set?.examples.count ?? 0) {
            guard let set, let tokenizer else { break }
            let sequence = set.examples[index]
            let ids = Array(sequence.ids)
            var prompt = ScoredText(sequence, tokenizer).prompt
            if prompt.count < 2 { prompt = Array(ids[..<((ids.count + 1) / 2)]) }
            guard !prompt.isEmpty else { continue }
            prompts.append(prompt)
            samples.append(
                Sample(
                    prompt: tokenizer.decode(prompt, skipSpecialTokens: true),
                    reference: ScoredText.text(of: Array(ids[prompt.count...]), after: prompt, tokenizer)))
        }
        self.prompts = prompts
    }

    /// Whether a model is still to be asked.
    func isMissing(_ role: EvaluationRole) -> Bool { samples.contains { $0.answers[role] == nil } }

    /// What a model has to do for all of them, in tokens that are scored: one that is written takes the time of several.
    var work: Double { Double(prompts.count * Self.maximum * 4) }

    /// Lets a model go on after each prompt, with the likeliest tokens; one that writes no text is not asked.
    mutating func ask(
        _ model: any SequenceModel, as role: EvaluationRole, stopIDs: Set<Int32>, progress: (Double) throws -> Void
    ) throws {
        guard let writer = model as? any LanguageModel, let tokenizer else { return }
        for (index, prompt) in prompts.enumerated() where prompt.count <= writer.contextLength {
            let ids = try Generator(writer).greedy(prompt, maximum: Self.maximum, stopIDs: stopIDs).ids
            samples[index].answers[role] = ScoredText.text(of: ids, after: prompt, tokenizer)
            try progress(Double(index + 1) / Double(prompts.count))
        }
    }
}
