import Foundation
import Layers
import TensorCore

/// GPT-2 (Radford et al. 2019), checked against transformers' `GPT2LMHeadModel`.
///
/// Shapes in this file: `N` tokens of a batch, `C` = `n_embd`, `V` vocabulary. Learned positions, layer norm before each block,
/// weights of linear maps stored `[in, out]` (Conv1D), the head usually tied to the embedding. Deliberately unsupported:
/// `reorder_and_upcast_attn`, cross attention. The configuration's own dropout rates are for pretraining and are not applied.
final class GPT2: LanguageModel, ModelArchitecture {
    let modelType = "gpt2"
    let vocabularySize: Int
    let contextLength: Int
    let defaultTargets = ["c_attn"]
    let outputProjection: Projection

    private let tokenEmbedding: Embedding
    private let positionEmbedding: Embedding
    private let blocks: [GPT2Block]
    private let finalNorm: LayerNorm
    private let heads: Int

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        ModelLimits(
            vocabularySize: try configuration.size("vocab_size", default: 50257),
            contextLength: try configuration.size("n_positions", default: 1024))
    }

    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        try GPT2(configuration, weights)
    }

    private init(_ configuration: ModelConfiguration, _ weights: WeightReader) throws {
        try configuration.require("activation_function", in: ["gelu_new", "gelu_pytorch_tanh"])
        try configuration.require("reorder_and_upcast_attn", false)
        try configuration.require("add_cross_attention", false)
        let width = try configuration.size("n_embd", default: 768)
        let layers = try configuration.size("n_layer", default: 12)
        let inner = try configuration.size("n_inner", default: 4 * width)
        let eps = Float(try configuration.number("layer_norm_epsilon", default: 1e-5))
        let spread = Float(try configuration.number("initializer_range", default: 0.02))
        let scalesWeights = try configuration.flag("scale_attn_weights", default: true)
        let scalesByLayer = try configuration.flag("scale_attn_by_inverse_layer_idx", default: false)
        heads = try configuration.size("n_head", default: 12)
        let limits = try Self.limits(configuration)
        vocabularySize = limits.vocabularySize
        contextLength = limits.contextLength
        guard width % heads == 0 else {
            throw ModelError(
                .configuration, "\(configuration.file.path): n_embd \(width) is not a multiple of n_head \(heads)")
        }

        tokenEmbedding = try weights.embedding("transformer.wte", vocabularySize, width, .normal(spread))
        positionEmbedding = try weights.embedding("transformer.wpe", contextLength, width, .normal(spread))
        var blocks: [GPT2Block] = []
        for layer in 0..<layers {
            var scale = scalesWeights ? 1 / Float(width / heads).squareRoot() : 1
            if scalesByLayer { scale /= Float(layer + 1) }
            blocks.append(
                try GPT2Block(
                    layer: layer, width: width, inner: inner, eps: eps, attentionScale: scale, spread: spread,
                    residualSpread: spread / Float(2 * layers).squareRoot(), weights))
        }
        self.blocks = blocks
        finalNorm = try weights.layerNorm("transformer.ln_f", width, eps: eps)
        outputProjection = try weights.outputHead(
            "lm_head", embedding: tokenEmbedding.weight,
            isTied: configuration.flag("tie_word_embeddings", default: true), .normal(spread))
    }

    var keyValueShape: (layers: Int, columns: Int) { (blocks.count, tokenEmbedding.weight.tensor.columns) }

    var projections: [Projection] { blocks.flatMap(\.projections) }
    var embeddings: [Embedding] { [tokenEmbedding, positionEmbedding] }

    var parameters: [Parameter] {
        embeddings.map(\.weight) + blocks.flatMap(\.parameters) + finalNorm.parameters
            + (outputHead === tokenEmbedding.weight ? [] : [outputHead])
    }

    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        let layout = attentionLayout(batch, context)
        var x = Tensor.sum(
            tokenEmbedding(batch.ids, context), positionEmbedding(batch.positions, context))
        for (layer, block) in blocks.enumerated() {
            x = context.layer(consume x) { [heads] x in
                block(x, layer: layer, heads: heads, layout: layout, context: context)
            }
        }
        context.cache?.advance(batch.ids.count)
        return finalNorm(x)
    }
}

/// One layer of GPT-2: `x += c_proj(attention(c_attn(ln_1 x)))`, `x += c_proj(gelu(c_fc(ln_2 x)))`.
private final class GPT2Block {
    let attentionNorm: LayerNorm
    let attentionInput: Projection
    let attentionOutput: Projection
    let feedForwardNorm: LayerNorm
    let feedForwardInput: Projection
    let feedForwardOutput: Projection
    let attentionScale: Float

    init(
        layer: Int, width: Int, inner: Int, eps: Float, attentionScale: Float, spread: Float, residualSpread: Float,
        _ weights: WeightReader
    ) throws {
        let path = "transformer.h.\(layer)"
        func map(_ name: String, _ input: Int, _ output: Int, _ spread: Float) throws -> Projection {
            try weights.projection("\(path).\(name)", input, output, .inputByOutput, hasBias: true, .normal(spread))
        }
        attentionNorm = try weights.layerNorm("\(path).ln_1", width, eps: eps)
        attentionInput = try map("attn.c_attn", width, 3 * width, spread)
        attentionOutput = try map("attn.c_proj", width, width, residualSpread)
        feedForwardNorm = try weights.layerNorm("\(path).ln_2", width, eps: eps)
        feedForwardInput = try map("mlp.c_fc", width, inner, spread)
        feedForwardOutput = try map("mlp.c_proj", inner, width, residualSpread)
        self.attentionScale = attentionScale
    }

    var projections: [Projection] { [attentionInput, attentionOutput, feedForwardInput, feedForwardOutput] }

    var parameters: [Parameter] {
        attentionNorm.parameters + attentionInput.parameters + attentionOutput.parameters
            + feedForwardNorm.parameters + feedForwardInput.parameters + feedForwardOutput.parameters
    }

    func callAsFunction(
        _ x: consuming Tensor, layer: Int, heads: Int, layout: AttentionLayout, context: ForwardContext
    ) -> Tensor {
        let fused = attentionInput(attentionNorm(copy x), context)
        let mixed: Tensor
        if let cache = context.cache {
            let parts = fused.columnThirds()
            let (keys, values) = cache.append(parts[1], parts[2], layer: layer)
            mixed = Tensor.attention(
                query: parts[0], key: keys, value: values, heads: heads, keyValueHeads: heads, scale: attentionScale,
                layout: layout)
        } else {
            mixed = Tensor.attention(
                fused: fused, heads: heads, scale: attentionScale, layout: layout,
                products: attentionInput.weight.tensor.products)
        }
        let y = Tensor.sum(x, attentionOutput(mixed, context))
        let inner = feedForwardInput(feedForwardNorm(y), context).geluTanh()
        return Tensor.sum(y, feedForwardOutput(inner, context))
    }
}

extension Tensor {
    /// The three equal column ranges of `[N, 3C]` as tensors of their own, without a gradient: for the cache.
    fileprivate func columnThirds() -> [Tensor] {
        let width = columns / 3
        return (0..<3).map { third in
            let part = Tensor(uninitialized: [rows, width])
            for row in 0..<rows {
                (part.pointer + row * width).update(from: pointer + row * columns + third * width, count: width)
            }
            return part
        }
    }
}
