import Foundation
import Layers
import TensorCore

/// Sizes and names of a transformer whose blocks have their norms first, with biases and plain feed-forward blocks: ViT's, and
/// CLIP's text encoder.
struct PreNormDesign {
    /// Module names below a layer's path.
    struct Names {
        let attention: String
        let attentionOutput: String
        let attentionNorm: String
        let feedForwardNorm: String
    }

    /// What a feed-forward block's inner states go through.
    enum Activation {
        case gelu(GELUForm)
        case quickGELU
    }

    let width: Int
    let inner: Int
    let heads: Int
    let layers: Int
    let eps: Float
    /// Standard deviation of new weights.
    let spread: Float
    let activation: Activation
    /// Whether queries, keys and values have biases; everything else has.
    let hasQueryKeyValueBias: Bool
    let isCausal: Bool
    let names: Names

    /// Reads the sizes, which all of the line spell alike, and checks them.
    init(
        _ configuration: ModelConfiguration, eps: Double, activation: String, hasQueryKeyValueBias: Bool = true,
        isCausal: Bool = false, names: Names
    ) throws {
        width = try configuration.size("hidden_size")
        inner = try configuration.size("intermediate_size")
        heads = try configuration.size("num_attention_heads")
        layers = try configuration.size("num_hidden_layers")
        self.eps = Float(try configuration.number("layer_norm_eps", default: eps))
        spread = Float(try configuration.number("initializer_range", default: 0.02))
        let supported = ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu"]
        try configuration.require("hidden_act", in: [activation] + supported.filter { $0 != activation })
        switch try configuration.word("hidden_act", default: activation) {
        case "gelu": self.activation = .gelu(.erf)
        case "quick_gelu": self.activation = .quickGELU
        default: self.activation = .gelu(.tanh)
        }
        self.hasQueryKeyValueBias = hasQueryKeyValueBias
        self.isCausal = isCausal
        self.names = names
        guard width % heads == 0 else {
            throw ModelError(
                .configuration,
                "\(configuration.file.path): a width of \(width) is not a multiple of \(heads) heads")
        }
    }
}

/// One layer: `x += o(attention(norm(x)))`, then `x += fc2(act(fc1(norm(x))))`.
final class PreNormBlock {
    private let query: Projection
    private let key: Projection
    private let value: Projection
    private let attentionOutput: Projection
    private let attentionNorm: LayerNorm
    private let inner: Projection
    private let output: Projection
    private let feedForwardNorm: LayerNorm
    private let design: PreNormDesign

    init(_ path: String, _ design: PreNormDesign, _ weights: WeightReader) throws {
        self.design = design
        let (names, width) = (design.names, design.width)
        func map(_ name: String, _ input: Int, _ output: Int, hasBias: Bool = true) throws -> Projection {
            try weights.projection(
                "\(path).\(name)", input, output, .outputByInput, hasBias: hasBias, .normal(design.spread))
        }
        func part(_ name: String) throws -> Projection {
            try map("\(names.attention).\(name)", width, width, hasBias: design.hasQueryKeyValueBias)
        }
        query = try part("q_proj")
        key = try part("k_proj")
        value = try part("v_proj")
        attentionOutput = try map("\(names.attention).\(names.attentionOutput)", width, width)
        attentionNorm = try weights.layerNorm("\(path).\(names.attentionNorm)", width, eps: design.eps)
        inner = try map("mlp.fc1", width, design.inner)
        output = try map("mlp.fc2", design.inner, width)
        feedForwardNorm = try weights.layerNorm("\(path).\(names.feedForwardNorm)", width, eps: design.eps)
    }

    var projections: [Projection] { [query, key, value, attentionOutput, inner, output] }

    var parameters: [Parameter] {
        projections.flatMap(\.parameters) + attentionNorm.parameters + feedForwardNorm.parameters
    }

    /// The states of sequences that lie one after another, `[N, C]`.
    func callAsFunction(_ x: consuming Tensor, rows: [Range<Int>], _ context: ForwardContext) -> Tensor {
        let normed = attentionNorm(copy x)
        let mixed = Tensor.attention(
            query: query(normed, context), key: key(normed, context), value: value(normed, context),
            heads: design.heads, keyValueHeads: design.heads,
            scale: 1 / Float(design.width / design.heads).squareRoot(),
            layout: AttentionLayout(rows: rows, isCausal: design.isCausal))
        let y = Tensor.sum(x, attentionOutput(mixed, context))
        let wide = inner(feedForwardNorm(y), context)
        let activated =
            switch design.activation {
            case .gelu(let form): wide.gelu(form)
            case .quickGELU: wide.quickGELU()
            }
        return Tensor.sum(y, output(activated, context))
    }
}
