/// The releases of transformers, whose names of modules differ for some architectures, and the adapters' names with them.
///
/// An adapter made with one release does not load with the other, since PEFT goes by the names in memory.
package enum NameDialect: String, Sendable, CaseIterable {
    case transformers4
    case transformers5
}

/// How transformers 4, and with it every file of weights, spells the names that an architecture has in transformers 5.
package struct FormerNames: Sendable {
    /// Parts of names with what they were before, each replaced wherever it stands.
    private let replacements: [(current: String, former: String)]

    package init(_ replacements: KeyValuePairs<String, String> = [:]) {
        self.replacements = replacements.map { ($0.key, $0.value) }
    }

    /// The former spelling of a module path or of a parameter's name.
    package func callAsFunction(_ name: String) -> String {
        replacements.reduce(name) { $0.replacing($1.current, with: $1.former) }
    }
}

/// A place in a parameter that holds the weights of several maps, such as those of all experts of a layer.
///
/// transformers 5 keeps experts that way, `[count, outputs, inputs]`, and PEFT adapts the parameter as a whole
/// (`target_parameters`). A parameter of a single matrix that is no linear module, as a router's, is a stack of one.
package struct StackedParameter: Sendable, Equatable {
    /// The path of the module that holds the parameter, such as `model.layers.0.mlp.experts`.
    package let module: String
    /// The parameter's name in it, such as `gate_up_proj`.
    package let name: String
    /// Which of the module's parameters it is, in the order of their declaration.
    package let position: Int
    /// Which matrix of the stack.
    package let index: Int
    /// How many matrices the stack has.
    package let count: Int
    /// The rows of that matrix that belong to the map.
    package let rows: Range<Int>
    /// How many rows each matrix has.
    package let outputs: Int

    package init(
        module: String, name: String, position: Int = 0, index: Int = 0, count: Int = 1, rows: Range<Int>, outputs: Int
    ) {
        self.module = module
        self.name = name
        self.position = position
        self.index = index
        self.count = count
        self.rows = rows
        self.outputs = outputs
    }

    /// The name of the whole parameter.
    package var path: String { "\(module).\(name)" }
}
