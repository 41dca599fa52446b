package import Layers
package import TensorCore

/// An adapter on a model: the adapted modules, what is trained, and the way back.
package final class AttachedAdapter {
    /// One adapted linear map.
    package struct Module {
        package let projection: Projection
        package let adaptation: any Adaptation
    }

    /// One adapted embedding.
    package struct EmbeddingModule {
        package let embedding: Embedding
        package let adaptation: any EmbeddingAdaptation
    }

    package let model: any AdaptableModel
    package let method: any AdapterMethod
    package let targets: TargetModules
    /// The release of transformers whose names of modules the adapter's folder has.
    package let dialect: NameDialect
    /// What the model is for, in PEFT's words; it decides which wrapper PEFT loads the adapter with.
    package let taskType: String?
    /// Names of modules that are trained whole, those that PEFT adds for the task among them.
    package let modulesToSave: [String]
    /// The modules the targets chose, and names that chose none.
    package var match: TargetModules.Match { parts.match }
    /// The adapted maps, from the input of the model upwards.
    package var modules: [Module] { parts.modules }
    package var embeddings: [EmbeddingModule] { parts.embeddings }
    /// The modules that are trained whole.
    package var saved: [SavedModule] { parts.saved }

    /// Whether a module is trained whole and kept whole.
    package func isSaved(_ path: String) -> Bool { saved.contains { $0.path == path } }
    /// What training changes.
    package let parameters: [Parameter]
    /// What an adapter folder holds; the name of each is its PEFT key in transformers 5.
    package let storedParameters: [Parameter]

    let parts: AdapterParts

    /// Attaches a new adapter, which changes nothing until it is trained, and freezes the whole base.
    ///
    /// - Parameters:
    ///   - modulesToSave: names of modules that are trained whole, besides those that belong to the task.
    ///   - taskType: PEFT's word for what the adapter is for; by default, that for the model's task. A task brings the
    ///     modules that PEFT saves for it.
    ///   - seed: of the random initial values; the same seed gives the same ones.
    ///   - dialect: whose names the targets are, and the adapter's folder will have.
    ///   - load: fills what a folder must hold, and what it may hold besides, before the model is touched; when it throws,
    ///     the model is as it was.
    /// - Throws: ``AdapterError`` when the targets do not fit the model or it has an adapter already.
    package init(
        _ method: any AdapterMethod, targets: TargetModules, to model: any AdaptableModel, modulesToSave: [String] = [],
        taskType: String?? = .none, seed: UInt64, dialect: NameDialect = .transformers5,
        load: (_ stored: [StoredParameter], _ optional: [StoredParameter]) throws -> Void = { _, _ in }
    ) throws {
        if let taken = Self.adaptedModule(of: model) {
            throw AdapterError(.alreadyAttached, "\(taken) has an adapter already; detach it or merge it first")
        }
        self.taskType = taskType ?? model.task.peftTaskType
        let implied = self.taskType.map(ModelTask.modulesToSave) ?? []
        self.modulesToSave = modulesToSave + implied.filter { !modulesToSave.contains($0) }
        parts = try AdapterParts(
            method, targets, saving: self.modulesToSave, on: model, dialect: dialect, random: RandomStream(seed: seed))
        if !modulesToSave.isEmpty, parts.saved.isEmpty {
            throw AdapterError(
                .noMatchingModule,
                "modules_to_save [\(modulesToSave.joined(separator: ", "))] names no module of the model")
        }
        storedParameters = parts.stored + parts.bases.map(\.parameter)
        try load(
            StoredParameter.list(parts.stored, of: parts.modules, dialect: dialect),
            StoredParameter.list(parts.bases.map(\.parameter), of: [], dialect: dialect))
        self.dialect = dialect
        self.model = model
        self.method = method
        self.targets = targets
        parameters = parts.trained
        for parameter in model.parameters { parameter.isTrainable = false }
        install()
    }

    /// The path of a module that has an adapter, if there is one.
    static func adaptedModule(of model: any AdaptableModel) -> String? {
        (model.projections + model.heads).first { $0.adaptation != nil }?.path
            ?? model.embeddings.first { $0.adaptation != nil }?.path
    }

    /// Whether the model computes with the adapter; without it, it is exactly the base.
    package var isEnabled = true {
        didSet { install() }
    }

    private func install() {
        for module in modules {
            let projection = module.projection
            let isMine = projection.adaptation === module.adaptation
            precondition(!isEnabled || isMine || projection.adaptation == nil, "\(projection.path) has another adapter")
            // Another adapter may have come after this one was detached.
            if isEnabled || isMine { projection.adaptation = isEnabled ? module.adaptation : nil }
        }
        for module in embeddings {
            let embedding = module.embedding
            let isMine = embedding.adaptation === module.adaptation
            precondition(!isEnabled || isMine || embedding.adaptation == nil, "\(embedding.path) has another adapter")
            if isEnabled || isMine { embedding.adaptation = isEnabled ? module.adaptation : nil }
        }
        for module in saved { module.install(isEnabled) }
        for base in parts.bases { base.install(isEnabled) }
    }

    /// Takes the adapter off the model, which then is the base and may take another; the adapter keeps its values.
    package func detach() { isEnabled = false }

    lazy var changes = changesByWeight()

    /// What the adapter's folder holds, with the names it has there.
    var storedTensors: [StoredParameter] { StoredParameter.list(storedParameters, of: modules, dialect: dialect) }
}
