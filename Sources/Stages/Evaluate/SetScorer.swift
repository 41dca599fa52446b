import Foundation
import Layers
import PipelineSpec
import Tokenizers
import Training

/// Asks a model about every example of a set.
struct SetScorer {
    /// `nil` where no text is read.
    let tokenizer: Tokenizer?
    /// How tokens are hidden from a model that finds them.
    let hiding: (any SequenceModel) -> TokenHiding?
    /// Tokens that end a text.
    let stopIDs: Set<Int32>
    /// What is computed at once, of a set with so long sequences.
    let batchTokens: (_ longest: Int) -> Int
    /// Told the share that is done, 0…1; what it throws ends the work.
    let progress: (Double) throws -> Void

    func score(_ model: any SequenceModel, on set: EvaluationSet) throws -> [ExampleScore] {
        let weight = Self.likelihoodShare(set)
        var scores = try likelihoods(model, set.examples) { try progress(weight * $0) }
        for index in scores.indices {
            let sequence = set.examples[index]
            // Only where the whole is judged is a label its class, and what was predicted one.
            if model.task.labelCount == nil {
                scores[index].prediction = nil
            } else {
                scores[index].label = sequence.classIndex
            }
            if model.task == .causalLM, let tokenizer {
                scores[index].bytes = ScoredText(sequence, tokenizer).byteCount
            }
        }
        if let alternatives = set.alternatives {
            let answers = try likelihoods(model, alternatives.sequences) { try progress(weight + (1 - weight) * $0) }
            for (index, question) in alternatives.questions.enumerated() {
                let likelihoods = answers[question.sequences].map { -$0.nll }
                scores[index].choices = likelihoods
                scores[index].choiceBytes = question.bytes
                scores[index].label = question.answer
                scores[index].prediction = likelihoods.indices.reduce(0) { likelihoods[$1] > likelihoods[$0] ? $1 : $0 }
            }
        }
        if let maximum = set.maxNewTokens {
            guard let writer = model as? any LanguageModel, let tokenizer else {
                throw StageError("unsuited_metric", "\(set.name): the model of the base writes no text")
            }
            for index in scores.indices {
                scores[index].text = try text(writer, set.examples[index], maximum, tokenizer)
                try progress(weight + (1 - weight) * Double(index + 1) / Double(scores.count))
            }
        }
        return scores
    }

    /// Of the work on a set, the share of the likelihoods of its examples.
    private static func likelihoodShare(_ set: EvaluationSet) -> Double {
        set.maxNewTokens != nil ? 0.2 : set.alternatives == nil ? 1 : 0.3
    }

    /// What a model has to do on a set, in tokens that are scored.
    static func work(of set: EvaluationSet) -> Double {
        Double(max(set.examples.targetCount, 1)) / likelihoodShare(set)
    }

    private func likelihoods(
        _ model: any SequenceModel, _ examples: TokenDataset, _ progress: (Double) throws -> Void
    ) throws -> [ExampleScore] {
        let total = Double(max(examples.targetCount, 1))
        let evaluation = try Evaluation(
            of: model, on: examples, batchTokens: batchTokens(examples.longest), hiding: hiding(model)
        ) {
            try progress(min(1, Double($0) / total))
        }
        return evaluation.examples.map { example in
            var score = ExampleScore()
            score.nll = example.negativeLogLikelihood
            score.tokens = example.tokens
            score.correct = example.correct
            score.prediction = example.prediction
            return score
        }
    }

    /// What the model writes in the place of the last part of an example that counts.
    private func text(
        _ model: any LanguageModel, _ sequence: TokenSequence, _ maximum: Int, _ tokenizer: Tokenizer
    ) throws -> String {
        let prompt = ScoredText(sequence, tokenizer).prompt
        guard !prompt.isEmpty, prompt.count <= model.contextLength else { return "" }
        let ids = try Generator(model).greedy(prompt, maximum: maximum, stopIDs: stopIDs).ids
        return ScoredText.text(of: ids, after: prompt, tokenizer)
    }
}

/// The text of the tokens of an example that count.
struct ScoredText {
    private let ids: [Int32]
    /// The parts that count, as runs of neighbours.
    private let runs: [Range<Int>]
    private let tokenizer: Tokenizer

    init(_ sequence: TokenSequence, _ tokenizer: Tokenizer) {
        ids = Array(sequence.ids)
        self.tokenizer = tokenizer
        var runs: [Range<Int>] = []
        for index in ids.indices where sequence.isScored(index) {
            if let last = runs.last, last.upperBound == index {
                runs[runs.count - 1] = last.lowerBound..<index + 1
            } else {
                runs.append(index..<index + 1)
            }
        }
        self.runs = runs
    }

    /// What stands before the last part that counts.
    var prompt: [Int32] { Array(ids[..<(runs.last?.lowerBound ?? 0)]) }

    /// The last part that counts, as text.
    var reference: String {
        guard let run = runs.last else { return "" }
        return Self.text(of: Array(ids[run]), after: Array(ids[..<run.lowerBound]), tokenizer)
    }

    var byteCount: Int {
        runs.reduce(0) { sum, run in
            sum + Self.text(of: Array(ids[run]), after: Array(ids[..<run.lowerBound]), tokenizer).utf8.count
        }
    }

    /// What tokens add to the text before them, without special tokens.
    static func text(of ids: [Int32], after prompt: [Int32], _ tokenizer: Tokenizer) -> String {
        // A few tokens before are enough to know how the text goes on, and cost less than all of them.
        let before = Array(prompt.suffix(8))
        let start = tokenizer.decode(before, skipSpecialTokens: true)
        return tokenizer.decode(before + ids, skipSpecialTokens: true).continuing(start)
            ?? tokenizer.decode(ids, skipSpecialTokens: true)
    }
}
