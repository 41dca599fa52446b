package import Layers
package import TensorCore

/// Training of the model itself, without an adapter: the method `full` of a manifest.
///
/// Its result is a checkpoint of its own, not an adapter folder, so it is not an ``AdapterMethod``.
package struct FullTraining {
    /// The name in a manifest.
    package static let name = "full"

    package let model: any LanguageModel
    /// Every weight of the model; a tied head once.
    package let parameters: [Parameter]

    /// Makes every weight of `model` trainable.
    ///
    /// Weights that lie in a mapped file are copied: they are written to.
    ///
    /// - Throws: ``AdapterError`` when an adapter is attached, which would be left out of the checkpoint.
    package init(_ model: any LanguageModel) throws {
        if let taken = model.projections.first(where: { $0.adaptation != nil }) {
            throw AdapterError(
                .alreadyAttached, "\(taken.path) has an adapter; detach it or merge it before full training")
        }
        self.model = model
        parameters = model.parameters
        for parameter in parameters { parameter.isTrainable = true }
    }
}
