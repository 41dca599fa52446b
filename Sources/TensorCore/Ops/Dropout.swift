import CKernels

extension Tensor {
    /// Drops each element with probability `probability` and scales the others by `1/(1 − p)` (Srivastava et al. 2014).
    ///
    /// Element i is decided by position i of `stream`, so nothing but the stream is kept: backward makes the same mask again.
    ///
    /// - Precondition: `0 ≤ probability < 1`.
    package func dropout(_ probability: Float, stream: RandomStream) -> Tensor {
        precondition(probability >= 0 && probability < 1, "dropout: probability \(probability)")
        guard probability > 0 else { return self }
        let result = Tensor(uninitialized: shape)
        applyDropout(probability, stream, from: self, to: result)
        return result.recorded([self], DropoutOp(probability: probability, stream: stream))
    }
}

private func applyDropout(_ probability: Float, _ stream: RandomStream, from source: Tensor, to target: Tensor) {
    let (x, y) = (source.pointer, target.pointer)
    Parallel.forEachRange(source.count, grain: 1024) { range in
        let low = range.lowerBound
        ck_kernels().pointee.dropout(range.count, stream.key, UInt64(low), probability, x + low, y + low)
    }
}

private struct DropoutOp: DifferentiableOp {
    let probability: Float
    let stream: RandomStream

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: gradient.shape)
        applyDropout(probability, stream, from: gradient, to: result)
        inputs.add(result, to: 0)
    }
}
