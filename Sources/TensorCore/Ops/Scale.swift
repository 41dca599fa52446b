import CKernels

extension Tensor {
    /// Every element times `factor`. Backward: `dx = factor · dy`.
    package func scaled(by factor: Float) -> Tensor {
        let result = scaledCopy(self, factor)
        return result.recorded([self], ScaleOp(factor: factor))
    }
}

private func scaledCopy(_ tensor: Tensor, _ factor: Float) -> Tensor {
    let result = Tensor(uninitialized: tensor.shape)
    let (x, y) = (tensor.pointer, result.pointer)
    Parallel.forEachRange(tensor.count, grain: 4096) { range in
        ck_kernels().pointee.scale(range.count, factor, x + range.lowerBound, y + range.lowerBound)
    }
    return result
}

private struct ScaleOp: DifferentiableOp {
    let factor: Float

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        inputs.add(scaledCopy(gradient, factor), to: 0)
    }
}
