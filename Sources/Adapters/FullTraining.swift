package import Layers
package import TensorCore

/// Training of the model itself, without an adapter: the method `full` of a manifest.
///
/// Its result is a checkpoint of its own, not an adapter folder, so it is not an ``AdapterMethod``.
package struct FullTraining {
    /// The name in a manifest.
    package static let name = "full"

    package let model: any AdaptableModel
    /// Every weight of the model; a tied head once.
    package let parameters: [Parameter]

    /// Makes every weight of `model` trainable.
    ///
    /// Weights that lie in a mapped file are copied: they are written to.
    ///
    /// - Throws: ``AdapterError`` when an adapter is attached, which would be left out of the checkpoint.
    package init(_ model: any AdaptableModel) throws {
        if let taken = AttachedAdapter.adaptedModule(of: model) {
            throw AdapterError(
                .alreadyAttached, "\(taken) has an adapter; detach it or merge it before full training")
        }
        self.model = model
        parameters = model.parameters
        for parameter in parameters { parameter.isTrainable = true }
    }
}
