import CKernels

extension Tensor {
    /// The sum of two tensors of one shape.
    ///
    /// `z = x + y`. Backward: `dx = dy = dz`. When nobody else holds the storage of one of them, the sum is made there: pass a
    /// tensor that is not needed again with `consume`.
    ///
    /// - Precondition: equal shapes.
    package static func sum(_ x: consuming Tensor, _ y: consuming Tensor) -> Tensor {
        precondition(x.shape == y.shape, "sum: \(x.shape) and \(y.shape)")
        let node: Node? =
            Tensor.records([copy x, copy y]) ? Node(op: AddOp(), inputs: [x.node, y.node], shape: x.shape) : nil
        var target: Tensor
        if Storage.takesOver(&y.storage) {
            target = y.detached()
        } else if Storage.takesOver(&x.storage) {
            target = x.detached()
        } else {
            target = Tensor(uninitialized: x.shape)
        }
        let (a, b, c) = (x.pointer, y.pointer, target.pointer)
        Parallel.forEachRange(target.count, grain: 4096) { range in
            let low = range.lowerBound
            ck_kernels().pointee.add(range.count, a + low, b + low, c + low)
        }
        withExtendedLifetime((x, y)) {}
        target.node = node
        return target
    }
}

private struct AddOp: DifferentiableOp {
    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        inputs.add(gradient, to: 0)
        inputs.add(gradient, to: 1)
    }
}

/// `y += x`.
func addInPlace(_ x: Tensor, to y: Tensor) {
    precondition(x.count == y.count, "addInPlace: \(x.shape) to \(y.shape)")
    let (a, b) = (x.pointer, y.pointer)
    Parallel.forEachRange(x.count, grain: 4096) { range in
        ck_kernels().pointee.add(range.count, a + range.lowerBound, b + range.lowerBound, b + range.lowerBound)
    }
}
