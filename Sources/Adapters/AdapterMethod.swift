package import Layers
package import TensorCore

/// A way to adapt a model, with its settings: all that the rest of the program needs to know of it.
///
/// To add one: a file with a type that conforms, its ``Adaptation``, and a line in ``AdapterRegistry``. Attaching,
/// merging, the strict reading and writing of folders, and the conformance tests follow from what is below.
package protocol AdapterMethod: Sendable {
    /// The name in a manifest, such as `lora`.
    static var name: String { get }
    /// `peft_type` in `adapter_config.json`, such as `LORA`.
    static var peftType: String { get }

    /// - Throws: ``AdapterError`` for a setting that cannot be.
    init(_ options: AdapterOptions) throws

    /// Takes the method's own keys out of a PEFT configuration; absent ones have PEFT's defaults.
    ///
    /// - Throws: ``AdapterError`` for a value that cannot be, or that changes the result in a way that is not built.
    init(peft fields: inout PEFTFields) throws

    /// The method's own keys as PEFT writes them; what ``init(peft:)`` reads back as the same method.
    var peftFields: [String: JSONValue] { get }

    /// A new adaptation for each projection, in their order, that changes nothing yet.
    ///
    /// The projections come all at once for methods that share tensors among them. Random numbers are drawn from
    /// substreams named after paths, so that a module begins the same way whatever else is adapted.
    func adaptations(for projections: [Projection], random: RandomStream) throws -> [any Adaptation]

    /// A new adaptation for each projection of a stack that is adapted as a whole, in their order.
    ///
    /// - Throws: ``AdapterError`` for a method that has no form for it; the default does.
    func adaptations(for stack: StackedTarget, random: RandomStream) throws -> [any Adaptation]

    /// A new adaptation for each embedding, in their order, that changes nothing yet.
    ///
    /// - Throws: ``AdapterError`` for a method that has no form for embeddings; the default does.
    func embeddingAdaptations(for embeddings: [Embedding], random: RandomStream) throws -> [any EmbeddingAdaptation]

    /// Everything an adapter folder holds of these, each under its PEFT key: the name of the parameter.
    func storedParameters(of adaptations: [any Adaptation]) -> [Parameter]
}

extension AdapterMethod {
    package func embeddingAdaptations(
        for embeddings: [Embedding], random: RandomStream
    ) throws -> [any EmbeddingAdaptation] {
        if let first = embeddings.first {
            throw AdapterError(.unsupported, "\(first.path) is an embedding, which \(Self.name) cannot adapt")
        }
        return []
    }

    package func adaptations(for stack: StackedTarget, random: RandomStream) throws -> [any Adaptation] {
        throw AdapterError(
            .unsupported, "\(Self.name) cannot adapt \(stack.path), which holds several maps; only lora can")
    }

    package func storedParameters(of adaptations: [any Adaptation]) -> [Parameter] {
        adaptations.flatMap(\.parameters).withoutRepetitions
    }

    /// A new adaptation for each projection of a match.
    func modules(for match: TargetModules.Match, random: RandomStream) throws -> [AttachedAdapter.Module] {
        let single = try adaptations(for: match.projections, random: random)
        precondition(single.count == match.projections.count, "\(self): one adaptation for each projection")
        return try match.stacks.reduce(into: zip(match.projections, single).map(AttachedAdapter.Module.init)) {
            $0 += zip($1.projections, try adaptations(for: $1, random: random)).map(AttachedAdapter.Module.init)
        }
    }
}

extension [Parameter] {
    /// Each once: adaptations may share tensors.
    var withoutRepetitions: [Parameter] {
        var seen: Set<ObjectIdentifier> = []
        return filter { seen.insert(ObjectIdentifier($0)).inserted }
    }
}

/// What a person can ask of a method in a manifest.
///
/// A method refuses what it has no use for.
package struct AdapterOptions: Sendable, Equatable {
    package var rank: Int
    package var alpha: Double
    package var dropout: Double
    package var useRSLoRA: Bool

    /// Ranks and alphas of single modules.
    package var rankPattern: ModulePatternMap<Int>
    package var alphaPattern: ModulePatternMap<Double>

    package init(
        rank: Int = 8, alpha: Double = 8, dropout: Double = 0, useRSLoRA: Bool = false,
        rankPattern: ModulePatternMap<Int> = .empty, alphaPattern: ModulePatternMap<Double> = .empty
    ) {
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.useRSLoRA = useRSLoRA
        self.rankPattern = rankPattern
        self.alphaPattern = alphaPattern
    }
}
