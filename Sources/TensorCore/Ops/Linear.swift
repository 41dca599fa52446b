import CKernels

/// How a linear weight lies in memory.
package enum WeightLayout: Sendable {
    /// `[out, in]`: `torch.nn.Linear`.
    case outputByInput
    /// `[in, out]`: GPT-2's `Conv1D`.
    case inputByOutput
}

extension Tensor {
    /// An affine map of every row: `y = scale · x Wᵀ + b`, plus `addend` when given.
    ///
    /// Shapes: `x [N, in]`, `W [out, in]` or `[in, out]` by `layout`, `b [out]`, `addend [N, out]`, result `[N, out]`.
    /// Backward: `dx = scale · dy W`, `dW = scale · dyᵀ x`, `db = Σ_N dy`, `d addend = dy`. The input is kept only when
    /// the weight is trained, the weight only when the input's gradient is wanted.
    ///
    /// A weight of bf16 is multiplied by the input, or by `dy`, rounded to bf16; sums and results are floats.
    ///
    /// The result takes over the addend's storage when nobody else holds it: `x.linear(w, adding: consume y)` is one product
    /// that accumulates, without another pass over memory.
    ///
    /// - Precondition: the shapes above.
    package func linear(
        _ weight: Tensor, bias: Tensor? = nil, layout: WeightLayout = .outputByInput, scale: Float = 1,
        adding addend: consuming Tensor? = nil
    ) -> Tensor {
        let inputs = columns
        let outputs = layout == .outputByInput ? weight.shape[0] : weight.shape[1]
        precondition(
            weight.shape == (layout == .outputByInput ? [outputs, inputs] : [inputs, outputs]),
            "linear: input \(shape), weight \(weight.shape) \(layout)")
        precondition(
            bias.map { $0.count == outputs } ?? true, "linear: weight \(weight.shape), bias \(bias?.shape ?? [])")
        precondition(
            addend.map { $0.columns == outputs && $0.rows == rows } ?? true,
            "linear: result [\(rows), \(outputs)], addend \(addend?.shape ?? [])")

        let parts = [self, weight] + (bias.map { [$0] } ?? [])
        let addendNode = addend?.node
        let accumulates = addend != nil
        var result: Tensor
        if var target = addend.take() {
            target.node = nil
            result = Storage.takesOver(&target.storage) ? target : target.copied()
        } else {
            result = Tensor(uninitialized: Array(shape.dropLast()) + [outputs])
        }
        Gemm.multiply(
            rows, outputs, inputs, alpha: scale, pointer, lda: inputs,
            weight: weight, transposed: layout == .outputByInput,
            beta: accumulates ? 1 : 0, result.pointer, ldc: outputs)
        if let bias {
            let (y, b) = (result.pointer, bias.pointer)
            Parallel.forEachRange(rows, grain: 16) { range in
                ck_kernels().pointee.add_row(range.count, outputs, b, y + range.lowerBound * outputs)
            }
        }
        guard Tensor.records(parts) || addendNode != nil else { return result }
        let op = LinearOp(
            input: weight.requiresGradient ? Kept(self) : nil,
            weight: requiresGradient ? weight.detached() : nil,
            inputs: inputs, outputs: outputs, layout: layout, scale: scale)
        result.node = Node(op: op, inputs: [node, weight.node, bias?.node, addendNode], shape: result.shape)
        return result
    }
}

private struct LinearOp: DifferentiableOp {
    let input: Kept?
    let weight: Tensor?
    let inputs: Int
    let outputs: Int
    let layout: WeightLayout
    let scale: Float

    func backward(_ gradient: Tensor, into sinks: GradientSinks) {
        let rows = gradient.rows
        let dy = gradient.pointer
        if sinks.needs(0), let weight {
            sinks.accumulate(0) { dx, isFirst in
                Gemm.multiply(
                    rows, inputs, outputs, alpha: scale, dy, lda: outputs,
                    weight: weight, transposed: layout == .inputByOutput,
                    beta: isFirst ? 0 : 1, dx, ldc: inputs)
            }
        }
        if sinks.needs(1), let input = input?.widened() {
            sinks.accumulate(1) { dw, isFirst in
                let beta: Float = isFirst ? 0 : 1
                switch layout {
                case .outputByInput:
                    Gemm.multiply(
                        outputs, inputs, rows, alpha: scale, dy, lda: outputs, transposed: true,
                        input.pointer, ldb: inputs, transposed: false, beta: beta, dw, ldc: inputs)
                case .inputByOutput:
                    Gemm.multiply(
                        inputs, outputs, rows, alpha: scale, input.pointer, lda: inputs, transposed: true,
                        dy, ldb: outputs, transposed: false, beta: beta, dw, ldc: outputs)
                }
            }
            withExtendedLifetime(input) {}
        }
        if sinks.needs(2) {
            sinks.accumulate(2) { db, isFirst in
                if isFirst { db.update(repeating: 0, count: outputs) }
                ck_kernels().pointee.column_sums(rows, outputs, dy, db)
            }
        }
        if sinks.needs(3) { sinks.add(gradient, to: 3) }
    }
}
