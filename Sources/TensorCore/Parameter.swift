/// A named weight: frozen, or trained and then the leaf that gradients gather in.
package final class Parameter {
    /// The name it has in its file, such as `transformer.h.0.attn.c_attn.weight`.
    package let name: String
    /// The current values. Reading it in a forward pass links the result to this leaf when it is trainable.
    package private(set) var tensor: Tensor

    package init(_ name: String, _ values: Tensor, isTrainable: Bool = false) {
        self.name = name
        tensor = values.detached()
        self.isTrainable = isTrainable
        updateLeaf()
    }

    /// Whether training changes this weight. A frozen one never gets a gradient.
    package var isTrainable: Bool {
        didSet { updateLeaf() }
    }

    /// The sum of the gradients since ``zeroGradient()``, or `nil` when none has arrived.
    package var gradient: Tensor? { tensor.node?.gradient }

    /// Forgets the gradient.
    package func zeroGradient() { tensor.node?.gradient = nil }

    /// Replaces the values.
    ///
    /// - Precondition: the same shape.
    package func assign(_ values: Tensor) {
        precondition(values.shape == tensor.shape, "\(name): \(values.shape) assigned to \(tensor.shape)")
        tensor = values.detached()
        updateLeaf()
    }

    private func updateLeaf() {
        if isTrainable {
            // Trained in place: memory of a mapped file is read-only, so it is copied first; and steps are smaller than
            // what bf16 can tell apart.
            if !tensor.storage.isWritable || tensor.dtype != .float32 { tensor = tensor.copied() }
            tensor.node = Node(leafOf: tensor.shape)
        } else {
            tensor.node = nil
        }
    }
}
