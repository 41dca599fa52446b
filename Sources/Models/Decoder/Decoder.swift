import Layers
import TensorCore

/// A decoder of the LLaMA line (Touvron et al. 2023, arXiv 2302.13971), as a ``DecoderDesign`` describes it.
///
/// Shapes in this file: `N` tokens of a batch, `C` = `hidden_size`, `V` vocabulary, `D` = `head_dim`. Root-mean-square norms before
/// each block, rotary positions (halves), gated feed-forward blocks. Weights have transformers' names in memory.
final class Decoder: LanguageModel {
    let outputProjection: Projection
    let design: DecoderDesign
    private let embedding: Embedding
    private let blocks: [DecoderBlock]
    private let finalNorm: RMSNorm

    init(_ design: DecoderDesign, _ weights: WeightReader) throws {
        guard !design.isFused || !design.hasHeadNorms && design.attentionCap == nil else {
            throw ModelError(
                .unsupported,
                "\(design.file): a fused map of queries, keys and values with norms of heads or a cap of scores"
            )
        }
        self.design = design
        embedding = try weights.embedding(
            "model.embed_tokens", design.vocabularySize, design.width, .normal(design.spread))
        blocks = try design.layers.indices.map { try DecoderBlock(layer: $0, design, weights) }
        finalNorm = try weights.rmsNorm("model.norm", design.width, eps: design.eps, offset: design.normOffset)
        outputProjection = try weights.outputHead(
            "lm_head", embedding: embedding.weight, isTied: design.isTied, .normal(design.spread))
    }

    var modelType: String { design.modelType }
    var vocabularySize: Int { design.vocabularySize }
    var contextLength: Int { design.contextLength }
    var defaultTargets: [String] { design.defaultTargets }
    var logitCap: Float? { design.logitCap }
    var balanceLossWeight: Float? { design.experts?.balanceLossWeight }
    var expertShare: Double { design.experts.map { Double($0.perToken) / Double($0.count) } ?? 1 }
    var formerNames: FormerNames { design.formerNames }
    var keyValueShape: (layers: Int, columns: Int) { (blocks.count, design.keyValueHeads * design.headSize) }
    var projections: [Projection] { blocks.flatMap(\.projections) }
    var embeddings: [Embedding] { [embedding] }

    var parameters: [Parameter] {
        [embedding.weight] + blocks.flatMap(\.parameters) + finalNorm.parameters
            + (outputHead === embedding.weight ? [] : [outputHead])
    }

    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        let layout = attentionLayout(batch, context)
        let length = Int(batch.positions.max() ?? 0) + 1
        let angles = design.rotaries.map {
            RotaryAngles(
                positions: batch.positions, inverseFrequencies: $0.inverseFrequencies(length: length),
                attentionFactor: $0.attentionFactor)
        }
        var x = embedding(batch.ids, context)
        if design.embeddingScale != 1 { x = x.scaled(by: design.embeddingScale) }
        for (block, layer) in zip(blocks, design.layers) {
            let (angles, layout) = (angles[layer.rotary], layout.windowed(layer.window))
            x = context.layer(consume x) { block($0, angles: angles, layout: layout, context: context) }
        }
        context.cache?.advance(batch.ids.count)
        return finalNorm(x)
    }
}

/// One layer: `x += attention(norm(x))`, then `x += feedForward(norm(x))`, each with a norm behind it where the design has one.
private final class DecoderBlock {
    private let attention: DecoderAttention
    private let feedForward: any FeedForward
    private let attentionNorm: RMSNorm
    private let feedForwardNorm: RMSNorm
    /// Behind attention and feed-forward block.
    private let outputNorms: (attention: RMSNorm, feedForward: RMSNorm)?

    init(layer: Int, _ design: DecoderDesign, _ weights: WeightReader) throws {
        let path = "model.layers.\(layer)"
        func norm(_ name: String) throws -> RMSNorm {
            try weights.rmsNorm("\(path).\(name)", design.width, eps: design.eps, offset: design.normOffset)
        }
        attentionNorm = try norm("input_layernorm")
        attention = try DecoderAttention(layer: layer, path: "\(path).self_attn", design, weights)
        if design.hasOutputNorms {
            let behindAttention = try norm("post_attention_layernorm")
            feedForwardNorm = try norm("pre_feedforward_layernorm")
            outputNorms = (behindAttention, try norm("post_feedforward_layernorm"))
        } else {
            feedForwardNorm = try norm("post_attention_layernorm")
            outputNorms = nil
        }
        feedForward =
            if design.layers[layer].isSparse, let experts = design.experts {
                try ExpertMixture(path: "\(path).mlp", experts, design, weights)
            } else {
                try DenseFeedForward(path: "\(path).mlp", inner: design.inner, design, weights)
            }
    }

    var projections: [Projection] { attention.projections + feedForward.projections }

    var parameters: [Parameter] {
        let norms = [attentionNorm, feedForwardNorm] + (outputNorms.map { [$0.attention, $0.feedForward] } ?? [])
        return norms.flatMap(\.parameters) + attention.parameters + feedForward.projections.flatMap(\.parameters)
    }

    func callAsFunction(
        _ x: consuming Tensor, angles: RotaryAngles, layout: AttentionLayout, context: ForwardContext
    ) -> Tensor {
        let mixed = attention(attentionNorm(copy x), angles: angles, layout: layout, context: context)
        let y = Tensor.sum(x, outputNorms?.attention(mixed) ?? mixed)
        let moved = feedForward(feedForwardNorm(y), context)
        return Tensor.sum(y, outputNorms?.feedForward(moved) ?? moved)
    }
}

/// `o(attention(rope(q), rope(k), v))` with grouped heads.
private final class DecoderAttention {
    /// Queries, keys and values, or all in one.
    private let inputs: [Projection]
    private let output: Projection
    private let headNorms: (query: RMSNorm, key: RMSNorm)?
    private let design: DecoderDesign
    private let layer: Int

    init(layer: Int, path: String, _ design: DecoderDesign, _ weights: WeightReader) throws {
        self.design = design
        self.layer = layer
        func map(_ name: String, _ input: Int, _ output: Int, hasBias: Bool) throws -> Projection {
            try weights.projection(
                "\(path).\(name)", input, output, .outputByInput, hasBias: hasBias, .normal(design.spread))
        }
        let (width, bias) = (design.width, design.queryKeyValueBias)
        let queries = design.heads * design.headSize, keys = design.keyValueHeads * design.headSize
        inputs =
            design.isFused
            ? [try map("qkv_proj", width, queries + 2 * keys, hasBias: bias)]
            : [
                try map("q_proj", width, queries, hasBias: bias), try map("k_proj", width, keys, hasBias: bias),
                try map("v_proj", width, keys, hasBias: bias),
            ]
        output = try map("o_proj", queries, width, hasBias: design.outputBias)
        func norm(_ name: String) throws -> RMSNorm {
            try weights.rmsNorm("\(path).\(name)", design.headSize, eps: design.eps, offset: design.normOffset)
        }
        headNorms = design.hasHeadNorms ? (try norm("q_norm"), try norm("k_norm")) : nil
    }

    var projections: [Projection] { inputs + [output] }

    var parameters: [Parameter] {
        projections.flatMap(\.parameters) + (headNorms.map { $0.query.parameters + $0.key.parameters } ?? [])
    }

    func callAsFunction(
        _ x: Tensor, angles: RotaryAngles, layout: AttentionLayout, context: ForwardContext
    ) -> Tensor {
        let mixed =
            inputs.count == 1
            ? fused(inputs[0](x, context), angles, layout, context) : separate(x, angles, layout, context)
        return output(mixed, context)
    }

    private func separate(
        _ x: Tensor, _ angles: RotaryAngles, _ layout: AttentionLayout, _ context: ForwardContext
    ) -> Tensor {
        func rotated(_ projection: Projection, _ norm: RMSNorm?) -> Tensor {
            var heads = projection(x, context)
            if let norm {
                let shape = heads.shape
                heads = norm(heads.reshaped([heads.count / design.headSize, design.headSize])).reshaped(shape)
            }
            return heads.rotated(by: angles, headDimension: design.headSize)
        }
        let q = rotated(inputs[0], headNorms?.query)
        var k = rotated(inputs[1], headNorms?.key)
        var v = inputs[2](x, context)
        if let cache = context.cache { (k, v) = cache.append(k, v, layer: layer) }
        return Tensor.attention(
            query: q, key: k, value: v, heads: design.heads, keyValueHeads: design.keyValueHeads,
            scale: design.attentionScale, cap: design.attentionCap, layout: layout, products: products(context))
    }

    /// One row at a time, rounding everything else would cost more than the products.
    private func products(_ context: ForwardContext) -> DType {
        context.cache == nil ? inputs[0].weight.tensor.products : .float32
    }

    private func fused(
        _ projected: consuming Tensor, _ angles: RotaryAngles, _ layout: AttentionLayout, _ context: ForwardContext
    ) -> Tensor {
        let (size, queries, keys) = (design.headSize, design.heads, design.keyValueHeads)
        // Queries and keys come first, and are rotated where they lie.
        let qkv = projected.rotated(by: angles, headDimension: size, heads: queries + keys)
        guard let cache = context.cache else {
            return Tensor.attention(
                fused: qkv, heads: queries, keyValueHeads: keys, scale: design.attentionScale, layout: layout,
                products: products(context))
        }
        let (k, v) = cache.append(
            qkv.copiedColumns(queries * size..<(queries + keys) * size),
            qkv.copiedColumns((queries + keys) * size..<(queries + 2 * keys) * size), layer: layer)
        return Tensor.attention(
            query: qkv.copiedColumns(0..<queries * size), key: k, value: v, heads: queries, keyValueHeads: keys,
            scale: design.attentionScale, layout: layout)
    }
}

/// What a layer does to each token by itself.
protocol FeedForward {
    var projections: [Projection] { get }

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) -> Tensor
}

/// `down(act(gate) · up)`.
struct DenseFeedForward: FeedForward {
    /// Gate and up, or both in one.
    private let inputs: [Projection]
    private let down: Projection
    private let activation: GateActivation

    init(path: String, inner: Int, _ design: DecoderDesign, _ weights: WeightReader) throws {
        func map(_ name: String, _ input: Int, _ output: Int) throws -> Projection {
            try weights.projection(
                "\(path).\(name)", input, output, .outputByInput, hasBias: design.feedForwardBias,
                .normal(design.spread))
        }
        activation = design.activation
        inputs =
            design.isFused
            ? [try map("gate_up_proj", design.width, 2 * inner)]
            : [try map("gate_proj", design.width, inner), try map("up_proj", design.width, inner)]
        down = try map("down_proj", inner, design.width)
    }

    var projections: [Projection] { inputs + [down] }

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) -> Tensor {
        let inner =
            inputs.count == 1
            ? Tensor.gatedUnit(activation, fused: inputs[0](x, context))
            : Tensor.gatedUnit(activation, gate: inputs[0](x, context), up: inputs[1](x, context))
        return down(inner, context)
    }
}
