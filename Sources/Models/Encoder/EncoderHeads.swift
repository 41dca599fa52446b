import Layers
import TensorCore

/// A class for each sequence, from the state of its first token, or for each token.
struct ClassificationHead: EncoderHead {
    private struct Step {
        let projection: Projection
        let activation: EncoderDesign.Heads.StepActivation
        let isBody: Bool
    }

    private let steps: [Step]
    private let judgesSequences: Bool

    init(_ design: EncoderDesign, sequencesInto labels: Int, _ weights: WeightReader) throws {
        judgesSequences = true
        let last = design.headNames.sequence.count - 1
        steps = try design.headNames.sequence.enumerated().map { index, step in
            Step(
                projection: try weights.headProjection(
                    step.path, design.width, index == last ? labels : design.width, spread: design.spread),
                activation: step.activation, isBody: step.isBody)
        }
    }

    init(_ design: EncoderDesign, tokensInto labels: Int, _ weights: WeightReader) throws {
        judgesSequences = false
        let classifier = try weights.headProjection(
            design.headNames.token, design.width, labels, spread: design.spread)
        steps = [Step(projection: classifier, activation: .none, isBody: false)]
    }

    var bodyProjections: [Projection] { steps.filter(\.isBody).map(\.projection) }
    var heads: [Projection] { steps.filter { !$0.isBody }.map(\.projection) }
    var parameters: [Parameter] { steps.flatMap(\.projection.parameters) }

    func outputs(_ states: Tensor, _ batch: TokenBatch, _ context: ForwardContext) -> Tensor {
        judgesSequences
            ? classes(states.gatheringRows(batch.sequences.map { Int32($0.lowerBound) }), context)
            : classes(states, context)
    }

    func score(_ states: Tensor, _ batch: TokenBatch, scale: Float, _ context: ForwardContext) -> ScoredTokens {
        judgesSequences
            ? outputs(states, batch, context).crossEntropy(targets: batch.labels, scale: scale)
            : states.crossEntropy(targets: batch.targets, scale: scale) { classes($0, context) }
    }

    private func classes(_ rows: Tensor, _ context: ForwardContext) -> Tensor {
        steps.reduce(rows) { x, step in
            let y = step.projection(x, context)
            return switch step.activation {
            case .none: y
            case .tanh: y.tanh()
            case .relu: y.relu()
            }
        }
    }
}

/// A number for each sequence: the head of classes with one output, and the mean squared error in place of a choice, as
/// transformers has it where `num_labels` is 1.
struct RegressionHead: EncoderHead {
    private let head: ClassificationHead

    init(_ design: EncoderDesign, _ weights: WeightReader) throws {
        head = try ClassificationHead(design, sequencesInto: 1, weights)
    }

    var bodyProjections: [Projection] { head.bodyProjections }
    var heads: [Projection] { head.heads }
    var parameters: [Parameter] { head.parameters }

    func outputs(_ states: Tensor, _ batch: TokenBatch, _ context: ForwardContext) -> Tensor {
        head.outputs(states, batch, context)
    }

    func score(_ states: Tensor, _ batch: TokenBatch, scale: Float, _ context: ForwardContext) -> ScoredTokens {
        outputs(states, batch, context).squaredError(targets: batch.values, scale: scale)
    }
}

/// The ids of hidden tokens: `output(norm(act(transform x)))`, with the embedding as output matrix where they are tied.
struct MaskedLMHead: EncoderHead {
    private let transform: Projection
    private let norm: LayerNorm
    private let output: Projection
    private let activation: EncoderDesign.Activation
    private let isTied: Bool

    init(_ design: EncoderDesign, words: Embedding, _ weights: WeightReader) throws {
        let names = design.headNames
        activation = design.activation
        isTied = design.isTied
        transform = try weights.headProjection(names.maskedTransform, design.width, design.width, spread: design.spread)
        norm = LayerNorm(
            weight: try weights.takeHead("\(names.maskedNorm).weight", [design.width], .ones),
            bias: try weights.takeHead("\(names.maskedNorm).bias", [design.width], .zeros), eps: design.eps)
        let name = "\(names.maskedOutput).weight"
        let shape = [design.vocabularySize, design.width]
        output = Projection(
            path: names.maskedOutput,
            weight: design.isTied
                ? try weights.tied(name, to: words.weight)
                : try weights.takeHead(name, shape, .normal(design.spread)),
            bias: try weights.takeHead(names.maskedBias, [design.vocabularySize], .zeros), layout: .outputByInput)
    }

    var bodyProjections: [Projection] { [transform] }
    var heads: [Projection] { [output] }

    var parameters: [Parameter] {
        let own = isTied ? (output.bias.map { [$0] } ?? []) : output.parameters
        return transform.parameters + norm.parameters + own
    }

    func outputs(_ states: Tensor, _ batch: TokenBatch, _ context: ForwardContext) -> Tensor {
        let x = transform(states, context)
        let activated =
            switch activation {
            case .gelu(let form): x.gelu(form)
            case .relu: x.relu()
            }
        return output(norm(activated), context)
    }

    func score(_ states: Tensor, _ batch: TokenBatch, scale: Float, _ context: ForwardContext) -> ScoredTokens {
        states.crossEntropy(targets: batch.targets, scale: scale) { outputs($0, batch, context) }
    }
}

/// A unit vector for each sequence: the mean of its tokens' states, divided by its length, as the sentence-transformers
/// library makes it (Reimers and Gurevych 2019, arXiv 1908.10084).
struct EmbeddingHead: EncoderHead {
    /// Comes with many bodies, is adapted by PEFT with all others, and is not used.
    private let pooler: Projection?

    init(_ design: EncoderDesign, _ weights: WeightReader) throws {
        pooler = try design.headNames.pooler.flatMap { path in
            guard weights.has("\(path).weight") else { return nil }
            return try weights.headProjection(path, design.width, design.width, spread: design.spread)
        }
    }

    var bodyProjections: [Projection] { pooler.map { [$0] } ?? [] }
    var heads: [Projection] { [] }
    var parameters: [Parameter] { pooler?.parameters ?? [] }

    func outputs(_ states: Tensor, _ batch: TokenBatch, _ context: ForwardContext) -> Tensor {
        states.meanRows(of: batch.sequences).normalizedRows()
    }

    func score(_ states: Tensor, _ batch: TokenBatch, scale: Float, _ context: ForwardContext) -> ScoredTokens {
        let vectors = outputs(states, batch, context)
        return batch.values.isEmpty
            ? vectors.pairLoss(partners: batch.labels, scale: scale)
            : vectors.likenessLoss(partners: batch.labels, values: batch.values, scale: scale)
    }
}
