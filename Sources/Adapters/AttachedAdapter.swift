package import Layers
package import TensorCore

/// An adapter on a model: the adapted modules, what is trained, and the way back.
package final class AttachedAdapter {
    /// One adapted linear map.
    package struct Module {
        package let projection: Projection
        package let adaptation: any Adaptation
    }

    package let model: any LanguageModel
    package let method: any AdapterMethod
    package let targets: TargetModules
    /// The modules the targets chose, and names that chose none.
    package let match: TargetModules.Match
    /// The adapted maps, from the input of the model upwards.
    package let modules: [Module]
    /// What training changes.
    package let parameters: [Parameter]
    /// What an adapter folder holds; the name of each is its PEFT key.
    package let storedParameters: [Parameter]

    /// Attaches a new adapter, which changes nothing until it is trained, and freezes the whole base.
    ///
    /// - Parameters:
    ///   - seed: of the random initial values; the same seed gives the same ones.
    ///   - load: fills the stored parameters before the model is touched; when it throws, the model is as it was.
    /// - Throws: ``AdapterError`` when the targets do not fit the model or it has an adapter already.
    package init(
        _ method: any AdapterMethod, targets: TargetModules, to model: any LanguageModel, seed: UInt64,
        load: ([Parameter]) throws -> Void = { _ in }
    ) throws {
        if let taken = model.projections.first(where: { $0.adaptation != nil }) {
            throw AdapterError(.alreadyAttached, "\(taken.path) has an adapter already; detach it or merge it first")
        }
        let match = try targets.match(in: model)
        let adaptations = try method.adaptations(for: match.projections, random: RandomStream(seed: seed))
        precondition(adaptations.count == match.projections.count, "\(method): one adaptation for each projection")
        storedParameters = method.storedParameters(of: adaptations)
        try load(storedParameters)
        self.model = model
        self.method = method
        self.targets = targets
        self.match = match
        modules = zip(match.projections, adaptations).map { Module(projection: $0, adaptation: $1) }
        parameters = adaptations.flatMap(\.parameters).filter(\.isTrainable)
        for parameter in model.parameters { parameter.isTrainable = false }
        install()
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
    }

    /// Takes the adapter off the model, which then is the base and may take another; the adapter keeps its values.
    package func detach() { isEnabled = false }

    /// The values of one of the model's parameters with the adapter in it, `W + ΔW`; others as they are.
    ///
    /// A new tensor, the base is not touched. For a merged checkpoint, ask for one parameter after another: no more
    /// than one merged matrix is then in memory.
    package func mergedValues(of parameter: Parameter) -> Tensor {
        guard let module = moduleByWeight[ObjectIdentifier(parameter)] else { return parameter.tensor.detached() }
        return Autograd.withoutGradients {
            Tensor.sum(parameter.tensor.detached(), module.adaptation.weightDelta(for: module.projection))
        }
    }

    private lazy var moduleByWeight = Dictionary(
        uniqueKeysWithValues: modules.map { (ObjectIdentifier($0.projection.weight), $0) })

    /// Every weight the adapter changes, merged, by parameter name; the base is not touched.
    package func mergedWeights() -> [String: Tensor] {
        Dictionary(
            uniqueKeysWithValues: modules.map { module in
                (module.projection.weight.name, mergedValues(of: module.projection.weight))
            })
    }

    /// Adds the adapter to the base's weights for good and detaches it.
    ///
    /// - Precondition: it is enabled, so that it cannot be added twice.
    package func mergeIntoBase() {
        precondition(isEnabled, "mergeIntoBase: the adapter is detached or disabled")
        for module in modules { module.projection.weight.assign(mergedValues(of: module.projection.weight)) }
        detach()
    }
}
