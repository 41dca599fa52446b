package import Layers
package import TensorCore

/// A parameter of an adapter, and what an adapter folder calls it.
package struct StoredParameter {
    /// The parameter's own name, which is the key in transformers 5, or that of another release.
    package let name: String
    package let parameter: Parameter

    /// The parameters of `modules` with their names in one dialect.
    static func list(
        _ parameters: [Parameter], of modules: [AttachedAdapter.Module], dialect: NameDialect
    ) -> [StoredParameter] {
        guard dialect != .transformers5 else { return parameters.map { StoredParameter(name: $0.name, parameter: $0) } }
        var owners: [ObjectIdentifier: Projection] = [:]
        for module in modules {
            for parameter in module.adaptation.parameters { owners[ObjectIdentifier(parameter)] = module.projection }
        }
        return parameters.map { parameter in
            guard let projection = owners[ObjectIdentifier(parameter)], let path = projection.path(in: dialect),
                case let start = PEFTFolder.keyPrefix + projection.path + ".", parameter.name.hasPrefix(start)
            else { return StoredParameter(name: parameter.name, parameter: parameter) }
            return StoredParameter(
                name: "\(PEFTFolder.keyPrefix)\(path).\(parameter.name.dropFirst(start.count))", parameter: parameter)
        }
    }
}
