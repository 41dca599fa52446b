import Adapters
import Foundation
import Layers
import Models
import TensorCore

/// A base made for a task, with an adapter where there is one: what the stages judge and merge.
final class AdaptedModel {
    let model: any SequenceModel
    /// The adapter on the model, if there is one.
    let adapter: AttachedAdapter?

    /// Loads a Hugging Face folder and an adapter folder in PEFT's format.
    ///
    /// - Parameter task: a head that the base does not have comes from the adapter.
    /// - Throws: the error of the floor that cannot read its file, naming it.
    init(base: URL, adapter: URL? = nil, for task: ModelTask) throws {
        let model = try ModelRegistry.load(folder: base, for: task, newHeadSeed: adapter == nil ? nil : 0)
        self.model = model
        let attached = try adapter.map { try PEFTFolder.read($0, attachingTo: model) }
        if let adapter, let attached, let lost = model.newModules.first(where: { !attached.isSaved($0) }) {
            throw StageError(
                "unsuited_base",
                "\(adapter.path): \(base.path) has no \(lost), with which the adapter was trained, and the adapter does not "
                    + "hold it either: whoever loads it draws another. Train again here, where it is kept, or with "
                    + "modules_to_save: [\(lost)] in PEFT")
        }
        self.adapter = attached
    }

    /// Runs `body` with the adapter off: the model is then exactly the base.
    func withoutAdapter<Result>(_ body: () throws -> Result) rethrows -> Result {
        guard let adapter, adapter.isEnabled else { return try body() }
        adapter.isEnabled = false
        defer { adapter.isEnabled = true }
        return try body()
    }

    /// What the head says of a batch, without recording.
    func outputs(_ batch: TokenBatch) -> Tensor {
        Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()) }
    }
}
