import Synchronization

/// One place on the tape: what was done, to what, and the gradient that has arrived so far.
///
/// A node knows its input *nodes*, not their values: an op saves for backward exactly what its formula needs, and
/// everything else is free to be reused as soon as the forward pass moves on.
package final class Node {
    /// Position on the tape. Backward runs from high to low.
    let order: Int
    /// How to go back; `nil` for a leaf, and after this node has been passed.
    var op: (any DifferentiableOp)?
    /// Where the gradient goes; `nil` for an input that needs none.
    var inputs: [Node?]
    let shape: [Int]
    /// The sum of what has arrived.
    var gradient: Tensor?

    private static let counter = Atomic<Int>(0)

    init(op: any DifferentiableOp, inputs: [Node?], shape: [Int]) {
        order = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
        self.op = op
        self.inputs = inputs
        self.shape = shape
    }

    /// A leaf: gradients end and gather here.
    init(leafOf shape: [Int]) {
        order = 0
        op = nil
        inputs = []
        self.shape = shape
    }

    /// Adds `tensor` to the gradient, in place when nobody else holds it.
    ///
    /// What was made of a reshaped value has another shape; the op behind this node knows only its own.
    func add(_ tensor: consuming Tensor) {
        guard gradient != nil else {
            gradient = tensor.detached().reshaped(shape)
            return
        }
        makeGradientUnique()
        if let gradient { addInPlace(tensor, to: gradient) }
    }

    /// Gives `body` the gradient's buffer to add to. With `isFirst` the content is unspecified and must be set.
    func accumulate(_ body: (_ buffer: UnsafeMutablePointer<Float>, _ isFirst: Bool) -> Void) {
        let isFirst = gradient == nil
        if isFirst { gradient = Tensor(uninitialized: shape) } else { makeGradientUnique() }
        if let gradient { body(gradient.pointer, isFirst) }
    }

    private func makeGradientUnique() {
        guard gradient != nil else { return }
        // Asked before anything here holds the tensor too, or the answer would always be no.
        let isUnique = isKnownUniquelyReferenced(&gradient!.storage)
        if let shared = gradient, !isUnique || shared.offset != 0 { gradient = shared.copied() }
    }
}

/// An op that can go back.
///
/// One file holds everything about an op: a private type with what it saves and ``backward(_:into:)``, and an extension of
/// ``Tensor`` with the forward computation, which ends in ``Tensor/recorded(_:inputs:)``.
protocol DifferentiableOp {
    /// Adds the gradient of each needed input, given the gradient of the output.
    func backward(_ gradient: Tensor, into inputs: GradientSinks)
}

/// Where an op's backward pass delivers.
struct GradientSinks {
    let nodes: [Node?]

    /// Whether input `index` wants a gradient.
    func needs(_ index: Int) -> Bool { nodes[index] != nil }

    /// Adds a finished gradient.
    func add(_ tensor: consuming Tensor, to index: Int) { nodes[index]?.add(tensor) }

    /// Lets `body` add to the gradient's buffer directly; see ``Node/accumulate(_:)``. Skipped when not needed.
    func accumulate(_ index: Int, _ body: (_ buffer: UnsafeMutablePointer<Float>, _ isFirst: Bool) -> Void) {
        nodes[index]?.accumulate(body)
    }
}
