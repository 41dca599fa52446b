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

    /// - Throws: ``AdapterError`` for combinations PEFT refuses: layers beside a pattern, a layer pattern without
    ///   layers.
    package init(
        _ selection: Selection, excluding excluded: Names? = nil, layers: [Int]? = nil, layerPatterns: [String] = []
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
    }

    // MARK: Matching

    /// The projections and embeddings of `model` that are chosen.
    ///
    /// - Parameter names: modules that are saved whole; nothing in them is chosen.
    /// - Throws: ``AdapterError``: `noMatchingModule` with the names the model has; `unsupported` when the choice
    ///   includes a module that is there but cannot be adapted, such as a norm.
    package func match(in model: any AdaptableModel, saving names: [String] = []) throws -> Match {
        let isNamed = try predicate(for: model)
        let chooses = { (path: String) in isNamed(path) && !SavedModule.isSaved(path, names) }
        // Heads and embeddings are adapted only by name.
        let isByName = selection != .allLinear
        let projections = model.projections + (isByName ? model.heads : [])
        let chosen = projections.filter { chooses($0.path) }
        let tables = isByName ? model.embeddings.filter { chooses($0.path) } : []
        if isByName, let other = Self.otherModules(of: model).sorted().first(where: { chooses($0) }) {
            throw AdapterError(
                .unsupported,
                "the targets match \(other), which is not a module that can be adapted; "
                    + "the model has \(Self.summary(of: projections))")
        }
        guard !chosen.isEmpty || !tables.isEmpty else {
            throw AdapterError(
                .noMatchingModule, "the targets \(self) match no module; the model has \(Self.summary(of: projections))"
            )
        }
        var unused: [String] = []
        if case .names(.list(let list)) = selection {
            let paths = projections.map(\.path) + model.embeddings.map(\.path)
            unused = list.filter { name in !paths.contains { Self.isNamed($0, in: [name]) } }.sorted()
        }
        return Match(projections: chosen, embeddings: tables, unusedNames: unused)
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

    private static func isNamed(_ path: String, in names: [String]) -> Bool {
        names.contains { path == $0 || path.hasSuffix("." + $0) }
    }

    /// Paths of modules that cannot be adapted: norms, and everything that holds others.
    private static func otherModules(of model: any AdaptableModel) -> Set<String> {
        var modules: Set<String> = []
        for parameter in model.parameters {
            var components = parameter.name.split(separator: ".").dropLast()
            while !components.isEmpty {
                modules.insert(components.joined(separator: "."))
                components = components.dropLast()
            }
        }
        return modules.subtracting(adaptablePaths(of: model))
    }

    /// Paths of all that an adapter may change.
    private static func adaptablePaths(of model: any AdaptableModel) -> [String] {
        (model.projections + model.heads).map(\.path) + model.embeddings.map(\.path)
    }

    private static func lastComponent(_ path: String) -> String { String(path.split(separator: ".").last ?? "") }

    private static func summary(of projections: [Projection]) -> String {
        let names = Set(projections.map { lastComponent($0.path) }).sorted().joined(separator: ", ")
        return "\(names)" + (projections.first.map { " (for example \($0.path))" } ?? "")
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
        try self.init(
            selection, excluding: try fields.takeNames("exclude_modules"),
            layers: try fields.takeIntegers("layers_to_transform"), layerPatterns: layerPatterns)
    }

    /// The keys PEFT needs to choose the same modules of `model` again.
    ///
    /// Lists and patterns are written as given, lists sorted. The two choices that depend on the program reading them,
    /// all-linear and the architecture's default, are written as what they chose: as last components, when these name
    /// the chosen modules and no other of the model, else as full paths. Both load alike in PEFT, which itself writes
    /// full paths; the short form is also understood by readers that know module names only by their last component.
    func peftFields(for match: Match, in model: any AdaptableModel) -> [String: JSONValue] {
        var fields: [String: JSONValue] = ["layers_to_transform": .null, "layers_pattern": .null]
        guard case .names(let names) = selection else {
            let paths = match.projections.map(\.path) + match.embeddings.map(\.path)
            let short = Set(paths.map(Self.lastComponent))
            let others = Self.otherModules(of: model).union(Self.adaptablePaths(of: model)).subtracting(paths)
            let isExact = !others.contains { Self.isNamed($0, in: Array(short)) }
            fields["target_modules"] = Self.json(.list(isExact ? Array(short) : paths))
            return fields
        }
        fields["target_modules"] = Self.json(names)
        // Older readers do not know this key, so it is there only when it says something.
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

extension TargetModules.Names: CustomStringConvertible {
    package var description: String {
        switch self {
        case .list(let names): "[\(names.joined(separator: ", "))]"
        case .pattern(let pattern): "\"\(pattern)\""
        }
    }
}
