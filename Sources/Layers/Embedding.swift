package import TensorCore

/// A named table of which ids choose rows: the other seam where adapters plug in, beside ``Projection``.
package final class Embedding {
    /// The module path in the reference implementation, such as `transformer.wte`.
    package let path: String
    /// `[V, C]`. A tied output head has the same one.
    package let weight: Parameter
    /// What an adapter makes of this table; `nil` is the base alone.
    package var adaptation: (any EmbeddingAdaptation)?
    /// A trained copy that computes in place of ``weight``. A head tied to the weight does not see it.
    package var substitute: Parameter?

    /// - Precondition: the weight is a matrix.
    package init(path: String, weight: Parameter) {
        precondition(weight.tensor.shape.count == 2, "\(path): weight \(weight.tensor.shape)")
        self.path = path
        self.weight = weight
    }

    /// What computes: the substitute, where there is one.
    package var currentWeight: Parameter { substitute ?? weight }

    /// The adapted rows of `ids`, `[N, C]`.
    package func callAsFunction(_ ids: [Int32], _ context: ForwardContext) -> Tensor {
        adaptation?.rows(ids, of: self, context: context) ?? base(ids)
    }

    /// The rows without their adapter.
    package func base(_ ids: [Int32]) -> Tensor { currentWeight.tensor.gatheringRows(ids) }
}

/// What one adapter method does to one embedding.
package protocol EmbeddingAdaptation: AnyObject {
    /// What is trained.
    var parameters: [Parameter] { get }
    /// The adapted rows of `ids`, `[N, C]`.
    func rows(_ ids: [Int32], of embedding: Embedding, context: ForwardContext) -> Tensor
    /// What a merge adds to the table, `[V, C]`.
    func weightDelta(for embedding: Embedding) -> Tensor
}
