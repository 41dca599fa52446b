/// Recording and replaying the tape.
package enum Autograd {
    @TaskLocal static var isRecording = true

    /// Runs `body` without recording: nothing in it keeps values for a backward pass.
    package static func withoutGradients<Result>(_ body: () throws -> Result) rethrows -> Result {
        try $isRecording.withValue(false, operation: body)
    }
}

extension Tensor {
    /// This tensor as the result of `op` on `inputs`, when any of them needs a gradient and the tape records.
    func recorded(_ inputs: [Tensor], _ op: @autoclosure () -> any DifferentiableOp) -> Tensor {
        guard inputs.contains(where: \.requiresGradient), Autograd.isRecording else { return self }
        var result = self
        result.node = Node(op: op(), inputs: inputs.map(\.node), shape: shape)
        return result
    }

    /// Whether an op on `inputs` should save what its backward pass needs.
    static func records(_ inputs: [Tensor]) -> Bool {
        inputs.contains(where: \.requiresGradient) && Autograd.isRecording
    }

    /// Sends the gradient 1 of this scalar back to every trainable ``Parameter`` it was made from.
    ///
    /// The tape behind it is used up: each op's saved values are freed as soon as it has been passed. Gradients of
    /// parameters add up until ``Parameter/zeroGradient()``.
    package func backward() {
        precondition(count == 1, "backward: a loss has one element, this tensor has shape \(shape)")
        sendBack(Tensor([1], shape: shape))
    }

    /// Sends `gradient`, that of this tensor, back.
    func sendBack(_ gradient: Tensor) {
        guard let root = node else { return }
        root.gradient = gradient
        for node in Self.tape(endingIn: root) {
            guard let op = node.op, let gradient = node.gradient else { continue }
            node.gradient = nil
            op.backward(gradient, into: GradientSinks(nodes: node.inputs))
            node.op = nil
            node.inputs = []
        }
    }

    /// The ops behind `root`, last made first.
    private static func tape(endingIn root: Node) -> [Node] {
        var seen: Set<ObjectIdentifier> = [ObjectIdentifier(root)]
        var tape: [Node] = []
        var pending = [root]
        while let node = pending.popLast() {
            guard node.op != nil else { continue }
            tape.append(node)
            for case let input? in node.inputs where seen.insert(ObjectIdentifier(input)).inserted {
                pending.append(input)
            }
        }
        return tape.sorted { $0.order > $1.order }
    }
}
