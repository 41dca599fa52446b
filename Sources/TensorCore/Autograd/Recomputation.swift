extension Tensor {
    /// `body` of this tensor, of which nothing but this tensor is kept for the backward pass: there `body` is computed again.
    ///
    /// What is kept of a row of `n` such calls falls from the values of all of them to `n` inputs and the values of one, for
    /// the time of one more forward pass (T. Chen, B. Xu, C. Zhang and C. Guestrin, *Training Deep Nets with Sublinear Memory
    /// Cost*, arXiv 1604.06174). Numbers are the same to the bit.
    ///
    /// - Parameter body: a pure function of this tensor and of parameters; called once or twice.
    package func recomputed(_ body: @escaping (Tensor) -> Tensor) -> Tensor {
        guard Autograd.isRecording else { return body(self) }
        let result = body(leaf())
        // Nothing in it is trained, nor is anything before it.
        guard result.requiresGradient else { return result }
        return Tensor(shape: result.shape, storage: result.storage, offset: result.offset)
            .recorded(anyway: [self], RecomputedOp(input: detached(), needsGradient: requiresGradient, body: body))
    }

    /// The same elements with a node that gathers their gradient, where this tensor needs one.
    fileprivate func leaf() -> Tensor {
        guard requiresGradient else { return self }
        var leaf = detached()
        leaf.node = Node(leafOf: shape)
        return leaf
    }

    /// As ``recorded(_:_:)`` for an op whose parameters are not among its inputs.
    private func recorded(anyway inputs: [Tensor], _ op: any DifferentiableOp) -> Tensor {
        var result = self
        result.node = Node(op: op, inputs: inputs.map(\.node), shape: shape)
        return result
    }
}

/// Runs the body forward, and its tape backward.
private struct RecomputedOp: DifferentiableOp {
    let input: Tensor
    let needsGradient: Bool
    let body: (Tensor) -> Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        var leaf = input
        if needsGradient { leaf.node = Node(leafOf: input.shape) }
        body(leaf).sendBack(gradient)
        if let arrived = leaf.node?.gradient { inputs.add(arrived, to: 0) }
    }
}
