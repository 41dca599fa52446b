package import Layers
import TensorCore

/// Which modules of a model an adapter attaches to, by PEFT's rules (`check_target_module_exists` of PEFT 0.21).
package struct TargetModules: Sendable, Equatable {
    /// Modules by name: a list matches whole paths and their last components, a string must match the whole path.
    package enum Names: Sendable, Equatable {
        case list([String])
        /// A regular expression in Python's dialect.
        case pattern(String)
    }

    /// How modules are chosen.
    package enum Selection: Sendable, Equatable {
        case names(Names)
        /// Every linear map but the output head.
        case allLinear
        /// What PEFT adapts in the architecture when nothing is said.
        case architectureDefault
    }

    /// What a model has for a choice of targets.
    package struct Match {
        /// The chosen projections, from the input of the model upwards.
        package let projections: [Projection]
        /// The chosen parameters that hold the weights of several projections.
        package var stacks: [StackedTarget] = []
        /// The chosen embeddings.
        package let embeddings: [Embedding]
        /// Names of a list that no module has, which PEFT passes over in silence; worth a warning.
        package let unusedNames: [String]
    }

    package var selection: Selection
    /// Modules that are left out whatever the selection says.
    package var excluded: Names?
    /// Numbers of the layers to adapt; `nil` or empty for all.
    ///
    /// A name that is a whole path is not held back by it.
    package var layers: [Int]?
    /// The component before the layer's number, such as `h`; empty for any.
    package var layerPatterns: [String]
    /// Parameters that are no linear modules, such as those of experts, by whole names or their ends.
    package var parameters: [String]

    /// - Throws: ``AdapterError`` for combinations PEFT refuses: layers beside a pattern, a layer pattern without
    ///   layers.
    package init(
        _ selection: Selection, excluding excluded: Names? = nil, layers: [Int]? = nil, layerPatterns: [String] = [],
        parameters: [String] = []
    ) throws {
        if case .names(.pattern) = selection, layers != nil || !layerPatterns.isEmpty {
            throw AdapterError(
                .configuration,
                "layers_to_transform and layers_pattern go with a list of target modules, not with a pattern")
        }
        guard layerPatterns.isEmpty || layers != nil else {
            throw AdapterError(.configuration, "layers_pattern needs layers_to_transform")
        }
        self.selection = selection
        self.excluded = excluded
        self.layers = layers
        self.layerPatterns = layerPatterns
        self.parameters = parameters
    }

    // MARK: Matching

    /// The projections, parameters and embeddings of `model` that are chosen, by the names they have in one dialect.
    ///
    /// - Parameter names: modules that are saved whole; nothing in them is chosen.
    /// - Throws: ``AdapterError``: `noMatchingModule` with the names the model has; `unsupported` when the choice
    ///   includes a module that is there but cannot be adapted, such as a norm.
    package func match(
        in model: any AdaptableModel, saving names: [String] = [], dialect: NameDialect = .transformers5
    ) throws -> Match {
        let isNamed = try predicate(for: model)
        let chooses = { (path: String) in isNamed(path) && !SavedModule.isSaved(path, names) }
        // Heads and embeddings are adapted only by name.
        let isByName = selection != .allLinear
        let projections = model.projections + (isByName ? model.heads : [])
        let chosen = projections.filter { $0.path(in: dialect).map(chooses) ?? false }
        let stacks = dialect == .transformers5 ? StackedTarget.targets(named: parameters, in: projections) : []
        let tables = isByName ? model.embeddings.filter { chooses($0.path) } : []
        if isByName, let other = Self.otherModules(of: model, dialect).sorted().first(where: { chooses($0) }) {
            throw AdapterError(
                .unsupported,
                "the targets match \(other), which is not a module that can be adapted; "
                    + "the model has \(Self.summary(of: projections, dialect))")
        }
        guard !chosen.isEmpty || !tables.isEmpty || !stacks.isEmpty else {
            let other = NameDialect.allCases.first { other in
                projections.contains { $0.path(in: other).map(chooses) ?? false }
            }
            throw AdapterError(
                .noMatchingModule,
                "the targets \(self) match no module; the model has \(Self.summary(of: projections, dialect))"
                    + (other.map { "; these are its names in \($0), and the adapter is to have those of \(dialect)" }
                        ?? ""))
        }
        var unused: [String] = []
        if case .names(.list(let list)) = selection {
            let paths =
                projections.compactMap { $0.path(in: dialect) } + model.embeddings.map(\.path) + stacks.map(\.path)
            unused = list.filter { name in !paths.contains { Self.isNamed($0, in: [name]) } }.sorted()
        }
        return Match(projections: chosen, stacks: stacks, embeddings: tables, unusedNames: unused)
    }

    /// Whether PEFT takes these targets for embedding layers, and saves the base's matrices with the adapter.
    func nameEmbeddingLayers(_ match: Match) -> Bool {
        let names = ["embed_tokens", "lm_head"]
        guard case .names(let chosen) = selection else { return false }
        switch chosen {
        case .list(let list): return names.contains { list.contains($0) }
        case .pattern:
            let paths = match.projections.map(\.path) + match.embeddings.map(\.path)
            return paths.contains { Self.isNamed($0, in: names) }
        }
    }

    private func predicate(for model: any AdaptableModel) throws -> (String) -> Bool {
        let isExcluded = try excluded.map(Self.predicate) ?? { _ in false }
        let isInLayer = try layerPredicate()
        switch selection {
        case .allLinear:
            return { !isExcluded($0) && isInLayer($0) }
        case .names(.pattern(let pattern)):
            let isNamed = try Self.predicate(.pattern(pattern))
            return { !isExcluded($0) && isNamed($0) }
        case .names(.list(let names)):
            return { !isExcluded($0) && (names.contains($0) || Self.isNamed($0, in: names) && isInLayer($0)) }
        case .architectureDefault:
            let names = model.defaultTargets
            return { !isExcluded($0) && Self.isNamed($0, in: names) && isInLayer($0) }
        }
    }

    private func layerPredicate() throws -> (String) -> Bool {
        guard let layers, !layers.isEmpty else { return { _ in true } }
        let components: [String?] = layerPatterns.isEmpty ? [nil] : layerPatterns
        let patterns = try components.map { try ModulePattern(layerNumberAfter: $0) }
        return { path in
            let number = patterns.lazy.compactMap { $0.firstGroup(in: path) }.first.flatMap { Int($0) }
            return number.map(layers.contains) ?? false
        }
    }

    private static func predicate(_ names: Names) throws -> (String) -> Bool {
        switch names {
        case .list(let names): return { isNamed($0, in: names) }
        case .pattern(let text):
            let pattern = try ModulePattern(matchingAllOf: text)
            return { pattern.matches($0) }
        }
    }

    static func isNamed(_ path: String, in names: [String]) -> Bool {
        names.contains { path == $0 || path.hasSuffix("." + $0) }
    }

    /// Paths of modules that cannot be adapted: norms, and everything that holds others.
    private static func otherModules(of model: any AdaptableModel, _ dialect: NameDialect) -> Set<String> {
        var modules: Set<String> = []
        func insert(_ module: some StringProtocol) {
            var components = module.split(separator: ".")
            while !components.isEmpty {
                modules.insert(components.joined(separator: "."))
                components = components.dropLast()
            }
        }
        // What is part of a stack has no module of its own.
        let stacked = dialect == .transformers5 ? model.projections.filter { $0.stack != nil } : []
        let hidden = Set(stacked.map { ObjectIdentifier($0.weight) })
        for projection in stacked { projection.stack.map { insert($0.module) } }
        for parameter in model.parameters where !hidden.contains(ObjectIdentifier(parameter)) {
            let name = dialect == .transformers5 ? parameter.name : model.formerNames(parameter.name)
            insert(name.split(separator: ".").dropLast().joined(separator: "."))
        }
        return modules.subtracting(adaptablePaths(of: model, dialect))
    }

    /// Paths of all that an adapter may change.
    private static func adaptablePaths(of model: any AdaptableModel, _ dialect: NameDialect) -> [String] {
        (model.projections + model.heads).compactMap { $0.path(in: dialect) } + model.embeddings.map(\.path)
    }

    private static func lastComponent(_ path: String) -> String { String(path.split(separator: ".").last ?? "") }

    private static func summary(of projections: [Projection], _ dialect: NameDialect) -> String {
        let paths = projections.compactMap { $0.path(in: dialect) }
        let names = Set(paths.map { lastComponent($0) }).sorted().joined(separator: ", ")
        let parameters = dialect == .transformers5 ? Set(projections.compactMap { $0.stack?.name }) : []
        return "\(names)" + (paths.first.map { " (for example \($0))" } ?? "")
            + (parameters.isEmpty ? "" : " and the parameters \(parameters.sorted().joined(separator: ", "))")
    }

    // MARK: PEFT

    /// Reads the choice out of a PEFT configuration.
    init(peft fields: inout PEFTFields) throws {
        let selection: Selection =
            switch try fields.takeNames("target_modules") {
            case nil: .architectureDefault
            case .pattern(let text) where text.lowercased() == "all-linear": .allLinear
            case let names?: .names(names)
            }
        let layerPatterns: [String] =
            switch try fields.takeNames("layers_pattern") {
            case nil, .pattern(""): []
            case .pattern(let one): [one]
            case .list(let several): several
            }
        let parameters: [String]
        switch try fields.takeNames("target_parameters") {
        case nil: parameters = []
        case .list(let names): parameters = names
        case .pattern(let text):
            throw AdapterError(
                .configuration, "\(fields.file): target_parameters must be a list of strings, not \"\(text)\"")
        }
        try self.init(
            selection, excluding: try fields.takeNames("exclude_modules"),
            layers: try fields.takeIntegers("layers_to_transform"), layerPatterns: layerPatterns,
            parameters: parameters)
    }

    /// The keys PEFT needs to choose the same modules of `model` again.
    ///
    /// Lists and patterns are written as given, lists sorted. The two choices that depend on the program reading them,
    /// all-linear and the architecture's default, are written as what they chose: as last components, when these name
    /// the chosen modules and no other of the model, else as full paths. Both load alike in PEFT, which itself writes
    /// full paths; the short form is also understood by readers that know module names only by their last component.
    func peftFields(
        for match: Match, in model: any AdaptableModel, dialect: NameDialect = .transformers5
    ) -> [String: JSONValue] {
        var fields: [String: JSONValue] = ["layers_to_transform": .null, "layers_pattern": .null]
        let chosen = parameters.filter { name in match.stacks.contains { Self.isNamed($0.path, in: [name]) } }
        // Older readers do not know these two keys, so they are there only when they say something.
        if !chosen.isEmpty { fields["target_parameters"] = Self.json(.list(chosen)) }
        let paths = match.projections.compactMap { $0.path(in: dialect) } + match.embeddings.map(\.path)
        guard case .names(let names) = selection else {
            let short = Set(paths.map(Self.lastComponent))
            let others = Self.otherModules(of: model, dialect)
                .union(Self.adaptablePaths(of: model, dialect)).subtracting(paths)
            let isExact = !others.contains { Self.isNamed($0, in: Array(short)) }
            fields["target_modules"] = Self.json(.list(isExact ? Array(short) : paths))
            return fields
        }
        fields["target_modules"] = Self.json(
            names.filtered { name in
                !chosen.contains(name) || paths.contains { Self.isNamed($0, in: [name]) }
            })
        if let excluded { fields["exclude_modules"] = Self.json(excluded) }
        if let layers { fields["layers_to_transform"] = .array(layers.map { .number($0) }) }
        if !layerPatterns.isEmpty { fields["layers_pattern"] = .array(layerPatterns.map { .string($0) }) }
        return fields
    }

    private static func json(_ names: Names) -> JSONValue {
        switch names {
        case .list(let list): .array(list.sorted().map { .string($0) })
        case .pattern(let pattern): .string(pattern)
        }
    }
}

extension TargetModules: CustomStringConvertible {
    /// The choice as a person would write it, for messages.
    package var description: String {
        var text =
            switch selection {
            case .allLinear: "all-linear"
            case .architectureDefault: "default"
            case .names(let names): names.description
            }
        if let excluded { text += " without \(excluded)" }
        if let layers { text += " in layers \(layers)" }
        return text
    }
}

extension TargetModules.Names {
    /// A list without some of its names; a pattern as it is.
    fileprivate func filtered(_ isKept: (String) -> Bool) -> TargetModules.Names {
        guard case .list(let names) = self else { return self }
        return .list(names.filter(isKept))
    }
}

extension TargetModules.Names: CustomStringConvertible {
    package var description: String {
        switch self {
        case .list(let names): "[\(names.joined(separator: ", "))]"
        case .pattern(let pattern): "\"\(pattern)\""
        }
    }
}
