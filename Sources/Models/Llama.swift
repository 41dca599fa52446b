import Foundation
package import Layers
package import TensorCore

/// LLaMA (Touvron et al. 2023, arXiv 2302.13971; grouped heads as in LLaMA 2), checked against transformers'
/// `LlamaForCausalLM`.
///
/// Shapes in this file: `N` tokens of a batch, `C` = `hidden_size`, `V` vocabulary, `D` = `head_dim`. Root-mean-square norms,
/// rotary positions (halves), SwiGLU. Both of Hugging Face's rotary dialects are read.
package final class Llama: ModelArchitecture {
    package let modelType = "llama"
    package let vocabularySize: Int
    package let contextLength: Int
    package let defaultTargets = ["q_proj", "v_proj"]
    package let outputHead: Parameter

    private let embedding: Parameter
    private let blocks: [LlamaBlock]
    private let finalNorm: RMSNorm
    private let shape: LlamaShape

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        ModelLimits(
            vocabularySize: try configuration.size("vocab_size"),
            contextLength: try configuration.size("max_position_embeddings", default: 2048))
    }

    init(_ configuration: ModelConfiguration, _ weights: WeightReader) throws {
        try configuration.require("hidden_act", in: ["silu", "swish"])
        let width = try configuration.size("hidden_size")
        let eps = Float(try configuration.number("rms_norm_eps", default: 1e-6))
        let spread = Float(try configuration.number("initializer_range", default: 0.02))
        shape = try LlamaShape(configuration, width: width)
        let limits = try Self.limits(configuration)
        vocabularySize = limits.vocabularySize
        contextLength = limits.contextLength
        let shape = shape

        embedding = try weights.take("model.embed_tokens.weight", [vocabularySize, width], .normal(spread))
        blocks = try (0..<configuration.size("num_hidden_layers")).map {
            try LlamaBlock(layer: $0, shape, eps: eps, spread: spread, weights)
        }
        finalNorm = try weights.rmsNorm("model.norm", width, eps: eps)
        outputHead =
            try configuration.flag("tie_word_embeddings", default: false)
            ? weights.tied("lm_head.weight", to: embedding)
            : weights.take("lm_head.weight", [vocabularySize, width], .normal(spread))
    }

    package var keyValueShape: (layers: Int, columns: Int) { (blocks.count, shape.keyValueHeads * shape.headSize) }

    package var projections: [Projection] { blocks.flatMap(\.projections) }

    package var parameters: [Parameter] {
        [embedding] + blocks.flatMap(\.parameters) + finalNorm.parameters
            + (outputHead === embedding ? [] : [outputHead])
    }

    package func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        let layout = attentionLayout(batch, context)
        let angles = RotaryAngles(positions: batch.positions, inverseFrequencies: shape.rotary.inverseFrequencies)
        var x = embedding.tensor.gatheringRows(batch.ids)
        for (layer, block) in blocks.enumerated() {
            x = block(consume x, layer: layer, shape, angles: angles, layout: layout, context: context)
        }
        context.cache?.advance(batch.ids.count)
        return finalNorm(x)
    }
}

/// The sizes all layers share.
private struct LlamaShape {
    let width: Int
    let inner: Int
    let heads: Int
    let keyValueHeads: Int
    let headSize: Int
    let rotary: RotaryVariant
    let attentionBias: Bool
    let feedForwardBias: Bool

    init(_ configuration: ModelConfiguration, width: Int) throws {
        self.width = width
        inner = try configuration.size("intermediate_size")
        heads = try configuration.size("num_attention_heads")
        keyValueHeads = try configuration.size("num_key_value_heads", default: heads)
        headSize = try configuration.size("head_dim", default: width / heads)
        // Without head_dim the heads share the width.
        let sharesWidth = configuration.values["head_dim"] is Int || width % heads == 0
        guard heads % keyValueHeads == 0, headSize > 0, headSize % 2 == 0, sharesWidth else {
            throw ModelError(
                .configuration,
                "\(configuration.file.path): \(heads) heads over \(keyValueHeads) key/value heads of size \(headSize), "
                    + "hidden_size \(width); heads must divide evenly and have an even size")
        }
        do {
            rotary = try RotaryVariant(configuration: configuration.values, headDimension: headSize)
        } catch let error as RotaryVariant.Unsupported {
            throw ModelError(.unsupported, "\(configuration.file.path): \(error)")
        }
        attentionBias = try configuration.flag("attention_bias", default: false)
        feedForwardBias = try configuration.flag("mlp_bias", default: false)
    }
}

/// One layer: `x += o(attention(rope(q), rope(k), v))` over the normalised x, then `x += down(silu(gate) · up)`.
private final class LlamaBlock {
    let attentionNorm: RMSNorm
    let query: Projection
    let key: Projection
    let value: Projection
    let output: Projection
    let feedForwardNorm: RMSNorm
    let gate: Projection
    let up: Projection
    let down: Projection

    init(layer: Int, _ shape: LlamaShape, eps: Float, spread: Float, _ weights: WeightReader) throws {
        let path = "model.layers.\(layer)"
        func map(_ name: String, _ input: Int, _ output: Int, hasBias: Bool) throws -> Projection {
            try weights.projection("\(path).\(name)", input, output, .outputByInput, hasBias: hasBias, .normal(spread))
        }
        let queries = shape.heads * shape.headSize, keys = shape.keyValueHeads * shape.headSize
        attentionNorm = try weights.rmsNorm("\(path).input_layernorm", shape.width, eps: eps)
        query = try map("self_attn.q_proj", shape.width, queries, hasBias: shape.attentionBias)
        key = try map("self_attn.k_proj", shape.width, keys, hasBias: shape.attentionBias)
        value = try map("self_attn.v_proj", shape.width, keys, hasBias: shape.attentionBias)
        output = try map("self_attn.o_proj", queries, shape.width, hasBias: shape.attentionBias)
        feedForwardNorm = try weights.rmsNorm("\(path).post_attention_layernorm", shape.width, eps: eps)
        gate = try map("mlp.gate_proj", shape.width, shape.inner, hasBias: shape.feedForwardBias)
        up = try map("mlp.up_proj", shape.width, shape.inner, hasBias: shape.feedForwardBias)
        down = try map("mlp.down_proj", shape.inner, shape.width, hasBias: shape.feedForwardBias)
    }

    var projections: [Projection] { [query, key, value, output, gate, up, down] }

    var parameters: [Parameter] {
        attentionNorm.parameters + feedForwardNorm.parameters + projections.flatMap(\.parameters)
    }

    func callAsFunction(
        _ x: consuming Tensor, layer: Int, _ shape: LlamaShape, angles: RotaryAngles, layout: AttentionLayout,
        context: ForwardContext
    ) -> Tensor {
        let normed = attentionNorm(copy x)
        let q = query(normed, context).rotated(by: angles, headDimension: shape.headSize)
        var k = key(normed, context).rotated(by: angles, headDimension: shape.headSize)
        var v = value(normed, context)
        if let cache = context.cache { (k, v) = cache.append(k, v, layer: layer) }
        let mixed = Tensor.attention(
            query: q, key: k, value: v, heads: shape.heads, keyValueHeads: shape.keyValueHeads,
            scale: 1 / Float(shape.headSize).squareRoot(), layout: layout)
        let y = Tensor.sum(x, output(mixed, context))
        let inner = feedForwardNorm(y)
        return Tensor.sum(y, down(Tensor.swiGLU(gate: gate(inner, context), up: up(inner, context)), context))
    }
}
