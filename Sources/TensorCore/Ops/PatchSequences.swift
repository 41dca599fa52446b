import CKernels

extension Tensor {
    /// Sequences of patches as a vision transformer takes them: a class token before each, and positions added
    /// (Dosovitskiy et al. 2020, arXiv 2010.11929).
    ///
    /// `y_s0 = c + p_0`, `y_si = x_s(i−1) + p_i` for the P patches of each of S images. Shapes: patches `[S · P, C]`, token C
    /// elements, positions `(P + 1) · C` elements, result `[S · (P + 1), C]`. Backward: `dx_s(i−1) = dy_si`, `dc = Σ_s dy_s0`,
    /// `dp_i = Σ_s dy_si`, in the order of images.
    ///
    /// - Precondition: whole sequences of patches.
    package func withClassTokens(_ token: Tensor, positions: Tensor) -> Tensor {
        let c = columns, patches = positions.count / c - 1
        precondition(
            token.count == c && positions.count == (patches + 1) * c && patches > 0 && rows % patches == 0,
            "withClassTokens: \(shape), token \(token.shape), positions \(positions.shape)")
        let sequences = rows / patches
        let result = Tensor(uninitialized: [sequences * (patches + 1), c])
        let (x, t, p, y) = (pointer, token.pointer, positions.pointer, result.pointer)
        Parallel.forEachRange(sequences) { range in
            let kernels = ck_kernels().pointee
            for sequence in range {
                let first = y + sequence * (patches + 1) * c
                kernels.add(c, t, p, first)
                kernels.add(patches * c, x + sequence * patches * c, p + c, first + c)
            }
        }
        return result.recorded([self, token, positions], PatchSequencesOp(patches: patches, shape: shape))
    }
}

private struct PatchSequencesOp: DifferentiableOp {
    let patches: Int
    let shape: [Int]

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let c = gradient.columns, length = (patches + 1) * c
        let sequences = gradient.count / length
        let dy = gradient.pointer
        if inputs.needs(0) {
            let result = Tensor(uninitialized: shape)
            for sequence in 0..<sequences {
                (result.pointer + sequence * patches * c).update(from: dy + sequence * length + c, count: patches * c)
            }
            inputs.add(result, to: 0)
        }
        for (input, count) in [(1, c), (2, length)] {
            inputs.accumulate(input) { sum, isFirst in
                if isFirst { sum.update(repeating: 0, count: count) }
                for sequence in 0..<sequences { ck_kernels().pointee.add(count, dy + sequence * length, sum, sum) }
            }
        }
    }
}
