import Layers
import TensorCore

/// A language model of one attention layer, with dropout on its projection, small enough to train in a test.
final class TinyModel: LanguageModel {
    let modelType = "tiny"
    let vocabularySize: Int
    let contextLength: Int
    let keyValueShape: (layers: Int, columns: Int)
    let defaultTargets = ["mix"]
    let outputProjection: Projection

    private let embedding: Parameter
    private let places: Parameter
    private let mix: Projection
    private let dropout: Float
    private let heads = 2

    init(vocabularySize: Int = 17, contextLength: Int = 12, width: Int = 8, dropout: Float = 0, seed: UInt64 = 7) {
        self.vocabularySize = vocabularySize
        self.contextLength = contextLength
        self.dropout = dropout
        let random = RandomStream(seed: seed)
        func normal(_ name: String, _ shape: [Int]) -> Parameter {
            Parameter(name, random.substream(name).normal(shape, standardDeviation: 0.5))
        }
        keyValueShape = (1, width)
        embedding = normal("embedding", [vocabularySize, width])
        places = normal("places", [contextLength, width])
        mix = Projection(
            path: "mix", weight: normal("mix.weight", [3 * width, width]),
            bias: Parameter("mix.bias", Tensor(zeros: [3 * width])), layout: .outputByInput)
        outputProjection = Projection(
            path: "head", weight: normal("head", [vocabularySize, width]), bias: nil, layout: .outputByInput)
    }

    var projections: [Projection] { [mix] }
    var parameters: [Parameter] { [embedding, places] + mix.parameters + [outputHead] }

    func hiddenStates(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        let x = Tensor.sum(embedding.tensor.gatheringRows(batch.ids), places.tensor.gatheringRows(batch.positions))
        var dropped = x
        if let stream = context.dropout { dropped = x.dropout(dropout, stream: stream.substream("mix")) }
        let fused = mix(dropped, context)
        let layout = attentionLayout(batch, context)
        let scale = 1 / Float(x.columns / heads).squareRoot()
        guard let cache = context.cache else {
            return Tensor.sum(x, Tensor.attention(fused: fused, heads: heads, scale: scale, layout: layout))
        }
        let width = x.columns
        func part(_ index: Int) -> Tensor {
            let values = fused.values
            return Tensor(
                (0..<fused.rows).flatMap { values[($0 * 3 + index) * width..<($0 * 3 + index + 1) * width] },
                shape: [fused.rows, width])
        }
        let (keys, values) = cache.append(part(1), part(2), layer: 0)
        cache.advance(batch.ids.count)
        let mixed = Tensor.attention(
            query: part(0), key: keys, value: values, heads: heads, keyValueHeads: heads, scale: scale, layout: layout)
        return Tensor.sum(x, mixed)
    }
}
