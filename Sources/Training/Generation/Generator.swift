package import Layers
import TensorCore

/// Text from a model, token by token.
package struct Generator {
    /// Why generation ended.
    package enum Ending: Sendable, Equatable {
        /// The model said this token, which is not among the new ones.
        case stopToken(Int32)
        /// As many tokens as were asked for.
        case maximumReached
        /// The model has no position for another token as input.
        case contextFull
    }

    /// What came of a prompt.
    package struct Result: Sendable, Equatable {
        /// The new tokens only.
        package let ids: [Int32]
        package let ending: Ending
    }

    private let model: any LanguageModel

    package init(_ model: any LanguageModel) { self.model = model }

    /// Continues `prompt`, each time with the most likely token; of equally likely ones the lowest.
    ///
    /// Keys and values are kept, so a token costs one row. A context of n positions ends it after n inputs: prompt
    /// and new tokens together are n + 1 at most, the last one never having been an input. No window slides.
    ///
    /// - Parameters:
    ///   - stopIDs: tokens that end the text.
    ///   - onToken: told each new token as it comes.
    /// - Throws: ``TrainingError``: `tooLong` for a prompt that the context cannot hold, `vocabulary` for an id that
    ///   the model does not have, `nonFiniteLoss` for logits that are no numbers, and what `onToken` throws.
    /// - Precondition: the prompt is not empty; a caller that has nothing to say starts with the begin token.
    package func greedy(
        _ prompt: [Int32], maximum: Int, stopIDs: Set<Int32> = [], onToken: (Int32) throws -> Void = { _ in }
    ) throws -> Result {
        precondition(!prompt.isEmpty, "Generator: an empty prompt")
        try checkVocabulary(Int(prompt.max() ?? 0) + 1, of: model, in: "prompt")
        if let worst = prompt.first(where: { $0 < 0 }) {
            throw TrainingError(.vocabulary, "prompt: \(worst) is not a token id")
        }
        guard prompt.count <= model.contextLength else {
            throw TrainingError(
                .tooLong, "the prompt has \(prompt.count) tokens; the model's context holds \(model.contextLength)")
        }
        let capacity = prompt.count + min(model.contextLength - prompt.count, max(0, maximum))
        let cache = model.makeCache(capacity: capacity)
        var input = prompt
        var ids: [Int32] = []
        while ids.count < maximum {
            guard cache.length + input.count <= model.contextLength else {
                return Result(ids: ids, ending: .contextFull)
            }
            let next = try Autograd.withoutGradients { try mostLikely(after: input, cache) }
            guard !stopIDs.contains(next) else { return Result(ids: ids, ending: .stopToken(next)) }
            ids.append(next)
            try onToken(next)
            input = [next]
        }
        return Result(ids: ids, ending: .maximumReached)
    }

    /// The most likely token after `input`, whose keys and values join the cache.
    private func mostLikely(after input: [Int32], _ cache: KeyValueCache) throws -> Int32 {
        let first = cache.length
        let batch = TokenBatch(
            ids: input, positions: input.indices.map { Int32(first + $0) }, sequences: [0..<input.count],
            targets: [Int32](repeating: -1, count: input.count))
        let states = model.hiddenStates(of: batch, context: ForwardContext(cache: cache))
        // Only the last row goes through the head, which is the largest product of small models.
        let width = states.columns
        let last = withExtendedLifetime(states) {
            Tensor(
                Array(UnsafeBufferPointer(start: states.pointer + (states.rows - 1) * width, count: width)),
                shape: [1, width])
        }
        let scores = model.logits(last)
        guard scores.isFinite else {
            throw TrainingError(
                .nonFiniteLoss,
                "after \(cache.length) tokens a logit is not finite; look for a broken weight in the model")
        }
        let logits = scores.values
        var best = 0
        for index in logits.indices where logits[index] > logits[best] { best = index }
        return Int32(best)
    }
}
