package import TensorCore

/// A model as adapters and checkpoint files see it: weights by name, and the modules that an adapter may change.
package protocol AdaptableModel: AnyObject {
    /// `model_type` of the configuration, such as `gpt2`.
    var modelType: String { get }
    /// What its head is for.
    var task: ModelTask { get }
    /// Every linear map of the body, from the input upwards: what "all linear maps" means to an adapter.
    var projections: [Projection] { get }
    /// The linear maps of the head, from the body upwards, which are adapted only when they are named.
    var heads: [Projection] { get }
    /// The tables that ids choose rows of, and that an adapter may change.
    var embeddings: [Embedding] { get }
    /// Every weight once, under the name the reference implementation gives it in memory.
    var parameters: [Parameter] { get }
    /// What PEFT adapts in this architecture when nothing else is said.
    var defaultTargets: [String] { get }
    /// How files of weights spell the names of ``parameters``.
    var formerNames: FormerNames { get }
}

extension AdaptableModel {
    package var heads: [Projection] { [] }
    package var embeddings: [Embedding] { [] }
    /// What products with its matrices round their other side to, in the body: BF16 where one is held so to be multiplied.
    package var products: DType {
        projections.contains { $0.current.weight.tensor.products == .bfloat16 } ? .bfloat16 : .float32
    }
    /// Most are named alike everywhere.
    package var formerNames: FormerNames { FormerNames() }

    /// The head that shares its matrix with an embedding, and the embedding; `nil` when no two modules do.
    package var tie: (head: Projection, embedding: Embedding)? {
        for head in heads {
            if let embedding = embeddings.first(where: { $0.weight === head.weight }) { return (head, embedding) }
        }
        return nil
    }
}

/// A model over token sequences, with the loss it is trained by: what training and evaluation see of an architecture.
package protocol SequenceModel: AdaptableModel {
    var vocabularySize: Int { get }
    /// The longest sequence it has positions for.
    var contextLength: Int { get }
    /// Paths of linear maps between body and head that the checkpoint lacks and that were drawn: BERT's pooler, where the
    /// checkpoint was for hidden tokens. An adapter must keep them whole, or they are lost.
    var newModules: [String] { get }
    /// Of the experts of a layer, the share that each token passes; 1 where there are none.
    var expertShare: Double { get }

    /// What the head gives: logits, one row a token, or one row a sequence where the task judges whole sequences; for
    /// ``ModelTask/featureExtraction`` a unit vector a sequence.
    func outputs(of batch: TokenBatch, context: ForwardContext) -> Tensor

    /// The loss of a batch, `scale` times the sum over its targets, and each target's negative log-likelihood.
    ///
    /// Likelihoods come one a token, or one a sequence where the task judges whole sequences.
    func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens
}

extension SequenceModel {
    package var newModules: [String] { [] }
    package var expertShare: Double { 1 }

    /// The share of the tokens that pass a projection: of an expert's not all.
    package func tokenShare(of projection: Projection) -> Double {
        projection.stack.map { $0.count > 1 ? expertShare : 1 } ?? 1
    }
}
