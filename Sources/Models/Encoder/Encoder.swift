import Layers
import TensorCore

/// The body of an encoder of BERT's line (Devlin et al. 2019, arXiv 1810.04805), as an ``EncoderDesign`` describes it.
///
/// Shapes in this file: `N` tokens of a batch, `C` the width. Learned positions, a norm over the sum of the embeddings and
/// behind each block; every token attends to all of its sequence and to no other. The configuration's own dropout rates are
/// for pretraining and are not applied.
final class Encoder {
    let design: EncoderDesign
    /// What stands before every path: nothing for a bare body.
    let prefix: String
    let words: Embedding
    private let positions: Embedding
    private let types: Embedding?
    private let norm: LayerNorm
    private let blocks: [EncoderBlock]

    /// - Parameter isBare: whether paths are those of the body's own class, without a head around it.
    init(_ design: EncoderDesign, isBare: Bool, _ weights: WeightReader) throws {
        try design.validate()
        self.design = design
        prefix = isBare ? "" : design.names.body
        let path = prefix + "embeddings"
        func table(_ name: String, _ count: Int) throws -> Embedding {
            try weights.embedding("\(path).\(name)", count, design.width, .normal(design.spread))
        }
        words = try table("word_embeddings", design.vocabularySize)
        positions = try table("position_embeddings", design.positionCount)
        types = try design.tokenTypes.map { try table("token_type_embeddings", $0) }
        norm = try weights.layerNorm("\(path).LayerNorm", design.width, eps: design.eps)
        let layers = prefix + design.names.layer
        blocks = try (0..<design.layers).map { try EncoderBlock("\(layers).\($0)", design, weights) }
    }

    var projections: [Projection] { blocks.flatMap(\.projections) }
    var embeddings: [Embedding] { [words, positions] + (types.map { [$0] } ?? []) }
    var parameters: [Parameter] { embeddings.map(\.weight) + norm.parameters + blocks.flatMap(\.parameters) }

    /// The states of the last layer, `[N, C]`, one row a token.
    func callAsFunction(_ batch: TokenBatch, _ context: ForwardContext) -> Tensor {
        precondition(context.cache == nil, "an encoder reads whole sequences and keeps no cache")
        var x = Tensor.sum(words(batch.ids, context), positions(positionIDs(batch), context))
        if let types {
            let ids = batch.tokenTypes.isEmpty ? [Int32](repeating: 0, count: batch.ids.count) : batch.tokenTypes
            x = Tensor.sum(consume x, types(ids, context))
        }
        let layout = AttentionLayout(rows: batch.sequences, isCausal: false)
        var states = norm(x)
        for block in blocks {
            states = context.layer(consume states) { block($0, layout: layout, context: context) }
        }
        return states
    }

    /// Positions as the table counts them.
    private func positionIDs(_ batch: TokenBatch) -> [Int32] {
        let first = Int32(design.firstPosition)
        guard let uncounted = design.uncountedID else { return batch.positions.map { $0 + first } }
        var result: [Int32] = []
        result.reserveCapacity(batch.ids.count)
        for rows in batch.sequences {
            var next = first
            for row in rows {
                let counts = batch.ids[row] != uncounted
                result.append(counts ? next : first - 1)
                if counts { next += 1 }
            }
        }
        return result
    }
}

/// One layer: `x = norm(x + o(attention(q x, k x, v x)))`, then `x = norm(x + output(act(inner x)))`.
private final class EncoderBlock {
    private let query: Projection
    private let key: Projection
    private let value: Projection
    private let attentionOutput: Projection
    private let attentionNorm: LayerNorm
    private let inner: Projection
    private let output: Projection
    private let outputNorm: LayerNorm
    private let design: EncoderDesign

    init(_ path: String, _ design: EncoderDesign, _ weights: WeightReader) throws {
        self.design = design
        let (names, width) = (design.names, design.width)
        func map(_ name: String, _ input: Int, _ output: Int) throws -> Projection {
            try weights.projection(
                "\(path).\(name)", input, output, .outputByInput, hasBias: true, .normal(design.spread))
        }
        query = try map(names.query, width, width)
        key = try map(names.key, width, width)
        value = try map(names.value, width, width)
        attentionOutput = try map(names.attentionOutput, width, width)
        attentionNorm = try weights.layerNorm("\(path).\(names.attentionNorm)", width, eps: design.eps)
        inner = try map(names.inner, width, design.inner)
        output = try map(names.output, design.inner, width)
        outputNorm = try weights.layerNorm("\(path).\(names.outputNorm)", width, eps: design.eps)
    }

    var projections: [Projection] { [query, key, value, attentionOutput, inner, output] }

    var parameters: [Parameter] {
        projections.flatMap(\.parameters) + attentionNorm.parameters + outputNorm.parameters
    }

    func callAsFunction(_ x: consuming Tensor, layout: AttentionLayout, context: ForwardContext) -> Tensor {
        let mixed = Tensor.attention(
            query: query(x, context), key: key(x, context), value: value(x, context), heads: design.heads,
            keyValueHeads: design.heads, scale: 1 / Float(design.width / design.heads).squareRoot(), layout: layout)
        let y = attentionNorm(Tensor.sum(x, attentionOutput(mixed, context)))
        let wide = inner(y, context)
        let activated =
            switch design.activation {
            case .gelu(let form): wide.gelu(form)
            case .relu: wide.relu()
            }
        return outputNorm(Tensor.sum(y, output(activated, context)))
    }
}
