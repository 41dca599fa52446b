import Layers
import TensorCore

/// Low-rank adaptation of an embedding, as PEFT computes it.
///
/// `y = W[id] + s · A[:, id]ᵀ Bᵀ` with `A [r, V]` and `B [C, r]`; at the start `A = 0` and `B ~ N(0, 1)`. There is no dropout. A
/// merge adds `s · Aᵀ Bᵀ` to the table.
final class LoRAEmbeddingAdaptation: EmbeddingAdaptation {
    /// `[r, V]`.
    let a: Parameter
    /// `[C, r]`.
    let b: Parameter
    private let scale: Float

    init(of embedding: Embedding, rank: Int, scale: Double, random: RandomStream) {
        let shape = embedding.weight.tensor.shape
        let key = PEFTFolder.keyPrefix + embedding.path
        a = Parameter("\(key).lora_embedding_A", Tensor(zeros: [rank, shape[0]]), isTrainable: true)
        b = Parameter(
            "\(key).lora_embedding_B",
            random.substream(embedding.path).normal([shape[1], rank], standardDeviation: 1), isTrainable: true)
        self.scale = Float(scale)
    }

    var parameters: [Parameter] { [a, b] }

    func rows(_ ids: [Int32], of embedding: Embedding, context: ForwardContext) -> Tensor {
        let base = embedding.base(ids)
        return a.tensor.gatheringColumns(ids).linear(b.tensor, scale: scale, adding: consume base)
    }

    func weightDelta(for embedding: Embedding) -> Tensor {
        a.tensor.detached().transposed().linear(b.tensor.detached(), scale: scale)
    }
}
