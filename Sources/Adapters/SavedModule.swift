package import Layers
package import TensorCore

/// A module that is trained whole beside an adapter, such as a new head: PEFT's `modules_to_save`.
///
/// What is trained is a copy. The base keeps its values, and whatever shares a matrix with the module goes on computing with
/// them: a saved embedding does not change a head that is tied to it.
package struct SavedModule {
    private enum Place {
        case projection(Projection)
        case embedding(Embedding)
    }

    private let place: Place
    /// The copy, under its PEFT keys: the weight, then the bias where there is one.
    package let parameters: [Parameter]

    private init(_ place: Place, path: String, _ originals: [Parameter]) {
        self.place = place
        parameters = zip(["weight", "bias"], originals).map { name, original in
            Parameter("\(PEFTFolder.keyPrefix)\(path).\(name)", original.tensor.copied(), isTrainable: true)
        }
    }

    init(_ projection: Projection) { self.init(.projection(projection), path: projection.path, projection.parameters) }

    init(_ embedding: Embedding) { self.init(.embedding(embedding), path: embedding.path, [embedding.weight]) }

    /// The module's path in the model.
    package var path: String {
        switch place {
        case .projection(let projection): projection.path
        case .embedding(let embedding): embedding.path
        }
    }

    /// The parameters of the base that the copy stands for, in the same order.
    var originals: [Parameter] {
        switch place {
        case .projection(let projection): projection.parameters
        case .embedding(let embedding): [embedding.weight]
        }
    }

    /// Whether the module is `other`.
    func isModule(_ other: AnyObject) -> Bool {
        switch place {
        case .projection(let projection): projection === other
        case .embedding(let embedding): embedding === other
        }
    }

    /// Lets the copy compute, or the base again where the copy does.
    func install(_ isInstalled: Bool) {
        switch place {
        case .projection(let projection):
            let isMine = projection.substitute?.weight === parameters[0]
            if isInstalled {
                projection.substitute = (parameters[0], parameters.dropFirst().first)
            } else if isMine {
                projection.substitute = nil
            }
        case .embedding(let embedding):
            let isMine = embedding.substitute === parameters[0]
            if isInstalled || isMine { embedding.substitute = isInstalled ? parameters[0] : nil }
        }
    }

    // MARK: Finding them

    /// The modules of `model` that `names` choose, by PEFT's rule: a module whose path ends with a name is saved with all
    /// that is in it, and the end need not be a whole component (`classifier` chooses `pre_classifier`).
    ///
    /// - Throws: ``AdapterError`` with code `unsupported` when something in a chosen module is neither a linear map nor an
    ///   embedding.
    static func modules(_ names: [String], in model: any AdaptableModel) throws -> [SavedModule] {
        let (projections, embeddings) = try chosen(names, in: model)
        return embeddings.map { SavedModule($0) } + projections.map { SavedModule($0) }
    }

    private static func chosen(
        _ names: [String], in model: any AdaptableModel
    ) throws -> (projections: [Projection], embeddings: [Embedding]) {
        guard !names.isEmpty else { return ([], []) }
        let projections = (model.projections + model.heads).filter { isSaved($0.path, names) }
        let embeddings = model.embeddings.filter { isSaved($0.path, names) }
        let covered = Set(projections.map(\.path) + embeddings.map(\.path))
        for parameter in model.parameters {
            let path = parameter.name.split(separator: ".").dropLast().joined(separator: ".")
            guard isSaved(path, names), !covered.contains(path) else { continue }
            throw AdapterError(
                .unsupported,
                "modules_to_save [\(names.joined(separator: ", "))] chooses \(path), which is neither a linear map nor an "
                    + "embedding and cannot be saved whole")
        }
        return (projections, embeddings)
    }

    /// How many parameters `names` choose, without copying any.
    ///
    /// - Throws: ``AdapterError`` with code `unsupported`, as an adapter that has them.
    package static func parameterCount(_ names: [String], in model: any AdaptableModel) throws -> Int {
        let (projections, embeddings) = try chosen(names, in: model)
        return (projections.flatMap(\.parameters) + embeddings.map(\.weight)).reduce(0) { $0 + $1.tensor.count }
    }

    /// Whether a module is chosen by `names`, or lies in one that is, or under a component with such a name; the last is
    /// where PEFT attaches no adapter.
    static func isSaved(_ path: String, _ names: [String]) -> Bool {
        guard !names.isEmpty else { return false }
        let components = path.split(separator: ".")
        return components.indices.contains { end in
            let module = components[...end].joined(separator: ".")
            return names.contains { module.hasSuffix($0) }
        }
    }
}

/// The base's own matrix in an adapter folder, which PEFT adds when an embedding or an output head is a target: the
/// vocabulary may have grown.
///
/// Where it differs from the base's, it computes in its place.
struct StoredBase {
    let parameter: Parameter
    private let projection: Projection?
    private let embedding: Embedding?

    init(_ projection: Projection) {
        parameter = Parameter(Self.key(projection.path), projection.weight.tensor)
        self.projection = projection
        embedding = nil
    }

    init(_ embedding: Embedding) {
        parameter = Parameter(Self.key(embedding.path), embedding.weight.tensor)
        projection = nil
        self.embedding = embedding
    }

    private static func key(_ path: String) -> String { "\(PEFTFolder.keyPrefix)\(path).base_layer.weight" }

    /// Whether the module is `other`.
    func isModule(_ other: AnyObject) -> Bool { projection === other || embedding === other }

    /// Whether it is another matrix than the base's.
    var differs: Bool {
        let original = projection?.weight ?? embedding?.weight
        return original.map { !$0.tensor.hasEqualElements(to: parameter.tensor) } ?? false
    }

    /// Lets the matrix compute where it differs, or the base again.
    func install(_ isInstalled: Bool) {
        guard differs else { return }
        if let projection { projection.substitute = isInstalled ? (parameter, projection.bias) : nil }
        if let embedding { embedding.substitute = isInstalled ? parameter : nil }
    }
}
