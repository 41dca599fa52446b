import CKernels

/// The result of scoring a batch against its targets.
package struct ScoredTokens {
    /// `scale · Σ nll` over the rows with a target; the tensor to call `backward` on.
    package let loss: Tensor
    /// Negative log-likelihood of each row's target in nats; 0 where there is none.
    package let negativeLogLikelihoods: [Float]
    /// The largest logit of each row with a target, or a negative number; empty where a gradient of a vocabulary's head is
    /// formed, since training does not ask.
    package let predictions: [Int32]

    package init(loss: Tensor, negativeLogLikelihoods: [Float], predictions: [Int32] = []) {
        self.loss = loss
        self.negativeLogLikelihoods = negativeLogLikelihoods
        self.predictions = predictions
    }
}

extension Tensor {
    /// How many of `rows` rows go through a head of so many words at a time: chunks of equal size, of at most 64 MB of logits.
    package static func crossEntropyChunk(_ rows: Int, vocabulary: Int) -> Int {
        let most = max(1, (64 << 20) / (4 * vocabulary))
        let chunks = max(1, (rows + most - 1) / most)
        return max(1, (rows + chunks - 1) / chunks)
    }

    /// Softmax cross-entropy of hidden states against targets, through the output head, without ever holding all logits.
    ///
    /// `logits = h Wᵀ`, `nll_n = log Σ_v exp(logits_nv) − logits_n,target`, `loss = scale · Σ_n nll_n`. Shapes: `h [N, C]`, head
    /// `W [V, C]`, `targets [N]` with a negative number where a row has none. Rows with a target go through the head in chunks
    /// (``crossEntropyChunk(_:vocabulary:)``); when a gradient is wanted, `dh` (and `dW`, if the head is trained) is formed in
    /// the same pass: `dlogits = scale (softmax − onehot)`, `dh = dlogits W`, `dW = dlogitsᵀ h`. Rows without a target cost nothing.
    ///
    /// - Parameters:
    ///   - scale: 1/(targets of the whole optimizer step) makes accumulated gradients the gradient of the mean.
    ///   - cap: the logits are `cap · tanh(h Wᵀ / cap)` (Gemma 2, arXiv 2408.00118).
    /// - Precondition: the shapes above; targets below V.
    package func crossEntropy(head: Tensor, targets: [Int32], scale: Float, cap: Float? = nil) -> ScoredTokens {
        let (c, vocabulary) = (columns, head.rows)
        precondition(
            head.columns == c && targets.count == rows,
            "crossEntropy: \(shape), head \(head.shape), \(targets.count) targets")
        let scored = targets.indices.filter { targets[$0] >= 0 }
        precondition(
            scored.allSatisfy { Int(targets[$0]) < vocabulary }, "crossEntropy: a target is beyond the vocabulary")
        var likelihoods = [Float](repeating: 0, count: targets.count)
        let records = Tensor.records([self, head])
        var predictions = [Int32](repeating: -1, count: records ? 0 : targets.count)
        let gradient = records && requiresGradient ? Tensor(zeros: shape) : nil
        let headGradient = records && head.requiresGradient ? Tensor(zeros: head.shape) : nil

        let chunk = Tensor.crossEntropyChunk(scored.count, vocabulary: vocabulary)
        let hidden = Tensor(uninitialized: [chunk, c])
        let logits = Tensor(uninitialized: [chunk, vocabulary])
        for start in stride(from: 0, to: scored.count, by: chunk) {
            let part = scored[start..<min(start + chunk, scored.count)]
            let n = part.count
            for (i, row) in part.enumerated() { (hidden.pointer + i * c).update(from: pointer + row * c, count: c) }
            Gemm.multiply(
                n, vocabulary, c, hidden.pointer, lda: c, weight: head, transposed: true, beta: 0, logits.pointer,
                ldc: vocabulary)
            let rowsOfPart = Array(part)
            likelihoods.withUnsafeMutableBufferPointer { likelihoods in
                predictions.withUnsafeMutableBufferPointer { predictions in
                    let likelihoods = likelihoods.baseAddress!
                    let predictions = predictions.baseAddress
                    let logits = logits.pointer
                    Parallel.forEachRange(n) { range in
                        let capped = records && cap != nil ? Storage(count: vocabulary) : nil
                        for i in range {
                            let row = logits + i * vocabulary
                            let target = Int(targets[rowsOfPart[i]])
                            if let cap { ck_kernels().pointee.soft_cap(vocabulary, 1, cap, row) }
                            let lse = ck_kernels().pointee.log_sum_exp(vocabulary, row)
                            likelihoods[rowsOfPart[i]] = lse - row[target]
                            guard records else {
                                var best = 0
                                for index in 1..<max(vocabulary, 1) where row[index] > row[best] { best = index }
                                predictions?[rowsOfPart[i]] = Int32(best)
                                continue
                            }
                            capped?.pointer.update(from: row, count: vocabulary)
                            ck_kernels().pointee.softmax_scaled(vocabulary, lse, scale, row)
                            row[target] -= scale
                            if let cap, let capped {
                                ck_kernels().pointee.soft_cap_backward(vocabulary, cap, capped.pointer, row)
                            }
                        }
                    }
                }
            }
            if let headGradient {
                Gemm.multiply(
                    vocabulary, c, n, logits.pointer, lda: vocabulary, transposed: true, hidden.pointer, ldb: c,
                    transposed: false, beta: 1, headGradient.pointer, ldc: c)
            }
            if let gradient {
                Gemm.multiply(
                    n, c, vocabulary, logits.pointer, lda: vocabulary, weight: head, transposed: false, beta: 0,
                    hidden.pointer, ldc: c)
                for (i, row) in part.enumerated() {
                    (gradient.pointer + row * c).update(from: hidden.pointer + i * c, count: c)
                }
            }
        }
        withExtendedLifetime((hidden, logits)) {}
        let total = scored.reduce(0.0) { $0 + Double(likelihoods[$1]) }
        let loss = Tensor([Float(total) * scale], shape: []).recorded(
            [self, head], CrossEntropyOp(gradient: gradient, headGradient: headGradient))
        return ScoredTokens(loss: loss, negativeLogLikelihoods: likelihoods, predictions: predictions)
    }
}

extension Tensor {
    /// Softmax cross-entropy of logits against targets.
    ///
    /// `nll_n = log Σ_v exp(logits_nv) − logits_n,target`, `loss = scale · Σ_n nll_n` over the rows with a target. Backward:
    /// `dlogits = scale (softmax − onehot)`, formed in the forward pass. Shapes: logits `[N, V]`, `targets [N]` with a negative
    /// number where a row has none. For few classes; a vocabulary goes through ``crossEntropy(head:targets:scale:cap:)``.
    ///
    /// - Precondition: the shapes above; targets below V.
    package func crossEntropy(targets: [Int32], scale: Float) -> ScoredTokens {
        let classes = columns
        precondition(
            targets.count == rows && targets.allSatisfy { Int($0) < classes },
            "crossEntropy: logits \(shape), \(targets.count) targets up to \(targets.max() ?? -1)")
        var likelihoods = [Float](repeating: 0, count: targets.count)
        var predictions = [Int32](repeating: -1, count: targets.count)
        let gradient = Tensor.records([self]) ? Tensor(zeros: shape) : nil
        let kernels = ck_kernels().pointee
        for (row, target) in targets.enumerated() where target >= 0 {
            let logits = pointer + row * classes
            let logSum = kernels.log_sum_exp(classes, logits)
            likelihoods[row] = logSum - logits[Int(target)]
            var best = 0
            for index in 1..<max(classes, 1) where logits[index] > logits[best] { best = index }
            predictions[row] = Int32(best)
            guard let gradient else { continue }
            let d = gradient.pointer + row * classes
            d.update(from: logits, count: classes)
            kernels.softmax_scaled(classes, logSum, scale, d)
            d[Int(target)] -= scale
        }
        let total = likelihoods.reduce(0.0) { $0 + Double($1) }
        let loss = Tensor([Float(total) * scale], shape: []).recorded(
            [self], CrossEntropyOp(gradient: gradient, headGradient: nil))
        return ScoredTokens(loss: loss, negativeLogLikelihoods: likelihoods, predictions: predictions)
    }

    /// The same for states that a head turns into logits: only rows with a target go through it.
    ///
    /// - Parameter head: from `[n, C]` to `[n, V]`.
    package func crossEntropy(targets: [Int32], scale: Float, head: (Tensor) -> Tensor) -> ScoredTokens {
        precondition(targets.count == rows, "crossEntropy: states \(shape), \(targets.count) targets")
        let asked = targets.indices.filter { targets[$0] >= 0 }
        let scored = head(gatheringRows(asked.map { Int32($0) }))
            .crossEntropy(targets: asked.map { targets[$0] }, scale: scale)
        var likelihoods = [Float](repeating: 0, count: targets.count)
        var predictions = [Int32](repeating: -1, count: targets.count)
        for (index, row) in asked.enumerated() {
            likelihoods[row] = scored.negativeLogLikelihoods[index]
            predictions[row] = scored.predictions[index]
        }
        return ScoredTokens(loss: scored.loss, negativeLogLikelihoods: likelihoods, predictions: predictions)
    }
}

/// Holds the gradients formed in the forward pass; backward multiplies them by the gradient of the loss.
private struct CrossEntropyOp: DifferentiableOp {
    let gradient: Tensor?
    let headGradient: Tensor?

    func backward(_ outer: Tensor, into inputs: GradientSinks) {
        for (index, tensor) in [gradient, headGradient].enumerated() {
            guard let tensor, inputs.needs(index) else { continue }
            inputs.add(outer.scalar == 1 ? tensor : tensor.scaled(by: outer.scalar), to: index)
        }
    }
}
