import Foundation
import Layers
import TensorCore

/// Where an architecture takes its weights from, one by one: a checkpoint, or random numbers.
///
/// Names are those the reference implementation has in memory. A checkpoint may spell them as before
/// (``formerNames``), and may lack the prefix of the base model (`transformer.`, `model.`), as files saved from the
/// headless class do; all forms are found.
final class WeightReader {
    /// How a weight begins in a model that is not loaded.
    enum Initial: Sendable {
        /// Normally distributed with this standard deviation.
        case normal(Float)
        case ones
        case zeros
    }

    private enum Source {
        case checkpoint(CheckpointFiles, folder: String)
        case random(RandomStream)
        /// Shapes alone; see ``Tensor/init(reserving:)``.
        case outline
    }

    private let source: Source
    /// What products with the matrices of linear maps and tables of embeddings are made in: F32 or BF16.
    private let matrixType: DType
    /// What random matrices are rounded to, where that is not what they are multiplied in.
    private let storedType: DType?
    private var taken: Set<String> = []
    /// Parameters that several maps are parts of, each read once.
    private var stacks: [String: Tensor] = [:]
    /// How files spell this architecture's names; set before the first weight is taken.
    var formerNames = FormerNames()

    /// Prefixes that a file saved from a headless class leaves out.
    private static let prefixes = ["transformer.", "model.", "bert.", "roberta.", "distilbert.", "vit.", "text_model."]

    /// Ends of names that old files hold and no model needs: causal masks, rotary tables, counted positions.
    private static let leftovers = [
        ".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "embeddings.position_ids",
        "embeddings.token_type_ids",
    ]

    /// Whether a body is taken without the head that it has by itself, because another stands on it.
    var isHeadless = false
    /// Where weights of a head come from that the checkpoint does not have; `nil` refuses such a checkpoint.
    var newHeads: RandomStream?
    /// Beginnings of names that may be there and are not asked for: heads for other tasks.
    private var passedOver: [String] = []

    init(checkpoint folder: URL, matrixType: DType = .float32) throws {
        source = .checkpoint(try CheckpointFiles(folder), folder: folder.path)
        self.matrixType = matrixType
        storedType = nil
    }

    init(random: RandomStream, matrixType: DType = .float32, storedType: DType? = nil) {
        source = .random(random)
        self.matrixType = matrixType
        self.storedType = storedType
    }

    /// Weights that have shapes and no values.
    init() {
        source = .outline
        matrixType = .float32
        storedType = nil
    }

    /// The weight `name`, which must have the given shape.
    ///
    /// Data that lies aligned in its file and has the wanted type is used in place; other types are converted.
    ///
    /// - Parameter isMatrix: whether it is one of a linear map or a table of an embedding, which may be smaller than floats.
    func take(_ name: String, _ shape: [Int], _ initial: Initial, isMatrix: Bool = false) throws -> Parameter {
        switch source {
        case .random(let stream):
            let values = Self.initial(initial, shape, stream.substream(name))
            return Parameter(
                name, isMatrix ? values.converted(to: storedType ?? matrixType, products: matrixType) : values)
        case .outline:
            guard let values = Tensor(reserving: shape) else {
                throw ModelError(.weights, "\(name) \(shape): the system gives no more addresses")
            }
            return Parameter(name, values)
        case .checkpoint(let files, let folder):
            guard let stored = storedName(name, in: files) else {
                throw ModelError(.weights, "\(folder): tensor \(name) \(shape) is missing from the checkpoint")
            }
            let entry = try files.entry(stored)
            guard entry.shape == shape else {
                throw ModelError(
                    .weights,
                    "\(folder): tensor \(stored) has shape \(entry.shape); config.json asks for \(shape)")
            }
            taken.insert(stored)
            return Parameter(
                name, isMatrix ? try files.matrix(stored, products: matrixType) : try files.tensor(stored))
        }
    }

    /// A matrix that files hold by itself under `name`, or as a part of a stack.
    private func take(
        _ name: String, partOf stack: StackedParameter, _ shape: [Int], _ initial: Initial
    ) throws -> Parameter {
        guard case .checkpoint(let files, let folder) = source, storedName(name, in: files) == nil,
            let stored = storedName(stack.path, in: files)
        else { return try take(name, shape, initial, isMatrix: true) }
        let whole = [stack.count, stack.outputs, shape[1]]
        if stacks[stored] == nil {
            let entry = try files.entry(stored)
            guard entry.shape == whole else {
                throw ModelError(
                    .weights, "\(folder): tensor \(stored) has shape \(entry.shape); config.json asks for \(whole)")
            }
            stacks[stored] = try files.matrix(stored, products: matrixType).reshaped([
                stack.count * stack.outputs, shape[1],
            ])
            taken.insert(stored)
        }
        let first = stack.index * stack.outputs + stack.rows.lowerBound
        guard let tensor = stacks[stored]?.slice(rows: first..<first + stack.rows.count) else {
            preconditionFailure("the stack \(stored) was just read")
        }
        return Parameter(name, tensor)
    }

    /// The weight `name` of a head, drawn anew where the checkpoint has none.
    func takeHead(_ name: String, _ shape: [Int], _ initial: Initial) throws -> Parameter {
        guard case .checkpoint(let files, let folder) = source, storedName(name, in: files) == nil else {
            return try take(name, shape, initial)
        }
        guard let newHeads else {
            throw ModelError(
                .weights, "\(folder): tensor \(name) \(shape) is missing: the checkpoint has no head for this task")
        }
        return Parameter(name, Self.initial(initial, shape, newHeads.substream(name)))
    }

    /// A linear map of a head, drawn anew where the checkpoint has none.
    func headProjection(_ path: String, _ input: Int, _ output: Int, hasBias: Bool = true, spread: Float) throws
        -> Projection
    {
        Projection(
            path: path, weight: try takeHead("\(path).weight", [output, input], .normal(spread)),
            bias: hasBias ? try takeHead("\(path).bias", [output], .zeros) : nil, layout: .outputByInput)
    }

    /// Whether a linear map of a head was drawn, because the checkpoint has none.
    func isNew(_ path: String) -> Bool { !has("\(path).weight") }

    /// Whether the checkpoint has `name`; a random model has everything.
    func has(_ name: String) -> Bool {
        guard case .checkpoint(let files, _) = source else { return true }
        return storedName(name, in: files) != nil
    }

    /// Lets the checkpoint hold tensors whose names begin so, without anyone asking for them.
    func passOver(_ prefixes: [String]) { passedOver += prefixes }

    /// The output head of a decoder: the embedding itself where they are tied, and where another head stands on the body.
    func outputHead(_ path: String, embedding: Parameter, isTied: Bool, _ initial: Initial) throws -> Projection {
        let name = "\(path).weight"
        let weight =
            isHeadless
            ? embedding
            : isTied
                ? try tied(name, to: embedding) : try take(name, embedding.tensor.shape, initial, isMatrix: true)
        if isHeadless { passOver([path + "."]) }
        return Projection(path: path, weight: weight, bias: nil, layout: .outputByInput)
    }

    /// The output head of a model whose head is its embedding.
    ///
    /// - Throws: when the checkpoint holds a head of its own that differs: a reload elsewhere would overwrite it.
    func tied(_ name: String, to embedding: Parameter) throws -> Parameter {
        if case .checkpoint(let files, let folder) = source, let stored = storedName(name, in: files) {
            let head = try files.matrix(stored, products: matrixType)
            guard head.shape == embedding.tensor.shape, head.hasEqualElements(to: embedding.tensor) else {
                throw ModelError(
                    .weights,
                    "\(folder): \(stored) differs from \(embedding.name) though tie_word_embeddings is true; "
                        + "set it to false to use the head as stored")
            }
            taken.insert(stored)
        }
        return embedding
    }

    /// A linear map `path` of `input` by `output` elements.
    ///
    /// - Parameter stack: where transformers 5 keeps the weight, when the map is no module of its own there.
    func projection(
        _ path: String, _ input: Int, _ output: Int, _ layout: WeightLayout, hasBias: Bool, _ initial: Initial,
        stack: StackedParameter? = nil
    ) throws -> Projection {
        let shape = layout == .outputByInput ? [output, input] : [input, output]
        let name = "\(path).weight"
        return Projection(
            path: path, formerPath: formerNames(path), stack: stack,
            weight: try stack.map { try take(name, partOf: $0, shape, initial) }
                ?? take(name, shape, initial, isMatrix: true),
            bias: hasBias ? try take("\(path).bias", [output], .zeros) : nil, layout: layout)
    }

    /// A table of `count` rows of `size` elements.
    func embedding(_ path: String, _ count: Int, _ size: Int, _ initial: Initial) throws -> Embedding {
        Embedding(path: path, weight: try take("\(path).weight", [count, size], initial, isMatrix: true))
    }

    /// A layer norm over rows of `size` elements.
    func layerNorm(_ path: String, _ size: Int, eps: Float) throws -> LayerNorm {
        LayerNorm(
            weight: try take("\(path).weight", [size], .ones), bias: try take("\(path).bias", [size], .zeros), eps: eps)
    }

    /// A root-mean-square norm over rows of `size` elements.
    ///
    /// - Parameter offset: what the model adds to the stored weight.
    func rmsNorm(_ path: String, _ size: Int, eps: Float, offset: Float = 0) throws -> RMSNorm {
        RMSNorm(
            weight: try take("\(path).weight", [size], offset == 0 ? .ones : .zeros), eps: eps, offset: offset)
    }

    /// Checks that the checkpoint held nothing that was not taken.
    func finish() throws {
        guard case .checkpoint(let files, let folder) = source else { return }
        let unexpected = files.names.filter { name in
            !taken.contains(name) && !Self.leftovers.contains { name.hasSuffix($0) }
                && !passedOver.contains { name.hasPrefix($0) }
        }
        guard unexpected.isEmpty else {
            throw ModelError(
                .weights,
                "\(folder): the checkpoint holds \(unexpected.count) tensor(s) this architecture does not have, "
                    + "such as \(unexpected.sorted()[0])")
        }
    }

    private func storedName(_ name: String, in files: CheckpointFiles) -> String? {
        for spelling in spellings(name) {
            if let stored = prefixedName(spelling, in: files) { return stored }
        }
        return nil
    }

    /// The name, what it was before, and what files of the first years call the weights of a layer norm.
    private func spellings(_ name: String) -> [String] {
        let former = formerNames(name)
        guard name.contains("LayerNorm.") else { return former == name ? [name] : [name, former] }
        return [
            name,
            name.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
                "LayerNorm.bias", with: "LayerNorm.beta"),
        ]
    }

    private func prefixedName(_ name: String, in files: CheckpointFiles) -> String? {
        if files.contains(name) { return name }
        for prefix in Self.prefixes {
            if name.hasPrefix(prefix), files.contains(String(name.dropFirst(prefix.count))) {
                return String(name.dropFirst(prefix.count))
            }
            if files.contains(prefix + name) { return prefix + name }
        }
        return nil
    }

    private static func initial(_ initial: Initial, _ shape: [Int], _ stream: RandomStream) -> Tensor {
        switch initial {
        case .normal(let spread): stream.normal(shape, standardDeviation: spread)
        case .ones: Tensor([Float](repeating: 1, count: shape.reduce(1, *)), shape: shape)
        case .zeros: Tensor(zeros: shape)
        }
    }
}
