extension Tensor {
    /// The squared error against wanted values: `e_n = Σ_c (x_nc − t_nc)² / C`, `loss = scale · Σ_n e_n`.
    ///
    /// Shapes: `x [N, C]`, `targets [N · C]` with NaN where nothing is asked of a row. Backward: `dx = 2 scale (x − t) / C`,
    /// formed in the forward pass. The errors take the place of negative log-likelihoods.
    ///
    /// - Precondition: the shapes above; NaN for all of a row or for none of it.
    package func squaredError(targets: [Float], scale: Float) -> ScoredTokens {
        precondition(targets.count == count, "squaredError: \(shape), \(targets.count) targets")
        let c = columns
        let gradient = Tensor.records([self]) ? Tensor(zeros: shape) : nil
        var errors = [Float](repeating: 0, count: rows)
        for row in 0..<rows where !targets[row * c].isNaN {
            for place in row * c..<(row + 1) * c {
                let difference = pointer[place] - targets[place]
                errors[row] += difference * difference / Float(c)
                gradient?.pointer[place] = 2 * scale * difference / Float(c)
            }
        }
        let total = errors.reduce(0.0) { $0 + Double($1) }
        let loss = Tensor([Float(total) * scale], shape: []).recorded([self], SquaredErrorOp(gradient: gradient))
        return ScoredTokens(loss: loss, negativeLogLikelihoods: errors)
    }
}

/// Holds the gradient formed in the forward pass; backward multiplies it by the gradient of the loss.
private struct SquaredErrorOp: DifferentiableOp {
    let gradient: Tensor?

    func backward(_ outer: Tensor, into inputs: GradientSinks) {
        guard let gradient, inputs.needs(0) else { return }
        inputs.add(outer.scalar == 1 ? gradient : gradient.scaled(by: outer.scalar), to: 0)
    }
}
