import TensorCore

extension Tensor {
    /// The contrastive loss of sentence embeddings with the other pairs of the batch as wrong answers
    /// (`MultipleNegativesRankingLoss` of sentence-transformers; Henderson et al. 2017, arXiv 1705.00652).
    ///
    /// For unit rows `e [S, C]`: each row n with a partner `p_n` is to prefer it to all other partners,
    /// `nll_n = log Σ_m exp(k e_n · e_{p_m}) − k e_n · e_{p_n}`, `loss = scale · Σ_n nll_n`.
    ///
    /// - Parameters:
    ///   - partners: for each row the row that belongs to it, or a negative number where a row asks for none.
    ///   - sharpness: k, what cosines are multiplied by.
    func pairLoss(partners: [Int32], scale: Float, sharpness: Float = 20) -> ScoredTokens {
        precondition(partners.count == rows, "pairLoss: \(partners.count) partners of \(rows) rows")
        let anchors = partners.indices.filter { partners[$0] >= 0 }
        let similarities = gatheringRows(anchors.map { Int32($0) })
            .linear(gatheringRows(anchors.map { partners[$0] }), scale: sharpness)
        let scored = similarities.crossEntropy(targets: anchors.indices.map { Int32($0) }, scale: scale)
        var likelihoods = [Float](repeating: 0, count: rows)
        var predictions = [Int32](repeating: -1, count: rows)
        for (index, row) in anchors.enumerated() {
            likelihoods[row] = scored.negativeLogLikelihoods[index]
            predictions[row] = partners[anchors[Int(scored.predictions[index])]]
        }
        return ScoredTokens(loss: scored.loss, negativeLogLikelihoods: likelihoods, predictions: predictions)
    }

    /// The loss of sentence embeddings whose likeness is known (`CosineSimilarityLoss` of sentence-transformers; Reimers
    /// and Gurevych 2019, arXiv 1908.10084): `(e_n · e_{p_n} − v_n)²` for unit rows, a partner p and a wanted cosine v.
    ///
    /// - Parameter values: the cosine each row wants with its partner; NaN for a row without.
    func likenessLoss(partners: [Int32], values: [Float], scale: Float) -> ScoredTokens {
        precondition(
            partners.count == rows && values.count == rows,
            "likenessLoss: \(partners.count) partners and \(values.count) values of \(rows) rows")
        let anchors = partners.indices.filter { partners[$0] >= 0 }
        let scored = gatheringRows(anchors.map { Int32($0) })
            .rowProducts(gatheringRows(anchors.map { partners[$0] }))
            .squaredError(targets: anchors.map { values[$0] }, scale: scale)
        var errors = [Float](repeating: 0, count: rows)
        for (index, row) in anchors.enumerated() { errors[row] = scored.negativeLogLikelihoods[index] }
        return ScoredTokens(loss: scored.loss, negativeLogLikelihoods: errors)
    }
}
