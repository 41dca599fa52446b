package import Layers
package import TensorCore

/// Low-rank adaptation (Hu and others 2021, arXiv 2106.09685), as PEFT computes it.
///
/// `y = W x + b + s · B A drop(x)` with `A [r, in]`, `B [out, r]` and `s = alpha / r`, or `alpha / √r` for
/// rank-stabilised LoRA (Kalajdzievski 2023, arXiv 2312.03732). At the start `A ~ U(−1/√in, 1/√in)` and `B = 0`, so the
/// map is the base's. Dropout acts on the adapter's input alone. A merge adds `s · B A` to the weight, transposed where
/// it lies `[in, out]`.
package struct LoRA: AdapterMethod {
    package static let name = "lora"
    package static let peftType = "LORA"

    package let rank: Int
    package let alpha: Double
    /// The probability that an element of the adapter's input is dropped in training.
    package let dropout: Double
    package let useRSLoRA: Bool
    /// Ranks of single modules: the first pattern that matches a module's path, or its end, decides.
    package let rankPattern: ModulePatternMap<Int>
    /// Alphas of single modules, likewise.
    package let alphaPattern: ModulePatternMap<Double>

    /// - Throws: ``AdapterError`` for a rank below 1, an alpha that is not a number, a dropout outside `0 ..< 1`.
    package init(
        rank: Int = 8, alpha: Double = 8, dropout: Double = 0, useRSLoRA: Bool = false,
        rankPattern: ModulePatternMap<Int> = .empty, alphaPattern: ModulePatternMap<Double> = .empty
    ) throws {
        for rank in [rank] + rankPattern.values where rank < 1 {
            throw AdapterError(.configuration, "the rank of an adapter must be at least 1, not \(rank)")
        }
        for alpha in [alpha] + alphaPattern.values where !alpha.isFinite {
            throw AdapterError(.configuration, "the alpha of an adapter must be a number, not \(alpha)")
        }
        guard dropout >= 0, dropout < 1 else {
            throw AdapterError(
                .configuration, "the dropout of an adapter must be at least 0 and below 1, not \(dropout)")
        }
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.useRSLoRA = useRSLoRA
        self.rankPattern = rankPattern
        self.alphaPattern = alphaPattern
    }

    package init(_ options: AdapterOptions) throws {
        try self.init(
            rank: options.rank, alpha: options.alpha, dropout: options.dropout, useRSLoRA: options.useRSLoRA,
            rankPattern: options.rankPattern, alphaPattern: options.alphaPattern)
    }

    /// The rank of a module. A pattern may have been written for either of its names.
    ///
    /// - Throws: ``AdapterError`` for a pattern that cannot be read.
    package func rank(of path: String, former: String? = nil) throws -> Int {
        try rankPattern.value(for: path) ?? former.flatMap(rankPattern.value) ?? rank
    }

    // MARK: PEFT

    /// Initialisations that leave the base as it is, so that the stored tensors are the whole difference.
    ///
    /// The others
    /// (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) train against a changed base, which the folder does not hold.
    private static let harmlessInitialisations: Set<String> = ["gaussian", "orthogonal", "eva"]

    package init(peft fields: inout PEFTFields) throws {
        switch fields.take("init_lora_weights") {
        case nil, .null, .bool: break
        case .string(let name) where Self.harmlessInitialisations.contains(name): break
        case let value?:
            throw fields.refusal(
                "init_lora_weights", value,
                "such an adapter belongs to a changed base; convert it to plain LoRA in PEFT "
                    + "(save_pretrained with path_initial_model_for_weight_conversion)")
        }
        let rank = try fields.takeInteger("r") ?? 8
        let alpha = try fields.takeNumber("lora_alpha") ?? 8
        let dropout = try fields.takeNumber("lora_dropout") ?? 0
        let useRSLoRA = try fields.takeFlag("use_rslora") ?? false
        let ranks = try fields.takePatternMap("rank_pattern", integer: true)
        let alphas = try fields.takePatternMap("alpha_pattern", integer: false)
        try self.init(
            rank: rank, alpha: alpha, dropout: dropout, useRSLoRA: useRSLoRA,
            rankPattern: ranks.mapValues { Int($0) }, alphaPattern: alphas)
    }

    package var peftFields: [String: JSONValue] {
        [
            "r": .number(rank),
            "lora_alpha": Self.peftAlpha(alpha),
            "lora_dropout": .number(dropout),
            "use_rslora": .bool(useRSLoRA),
            "init_lora_weights": .bool(true),
            "rank_pattern": rankPattern.json { .number($0) },
            "alpha_pattern": alphaPattern.json(Self.peftAlpha),
        ]
    }

    /// PEFT declares alpha an integer, and other readers take it at its word; a fraction stays one.
    private static func peftAlpha(_ alpha: Double) -> JSONValue {
        Int(exactly: alpha).map { .number($0) } ?? .number(alpha)
    }

    // MARK: Adaptations

    package func adaptations(for projections: [Projection], random: RandomStream) throws -> [any Adaptation] {
        try projections.map { projection in
            let (rank, scale) = try rankAndScale(projection.path, projection.formerPath)
            return LoRAAdaptation(of: projection, rank: rank, scale: scale, dropout: dropout, random: random)
        }
    }

    package func embeddingAdaptations(
        for embeddings: [Embedding], random: RandomStream
    ) throws -> [any EmbeddingAdaptation] {
        try embeddings.map { embedding in
            let (rank, scale) = try rankAndScale(embedding.path)
            return LoRAEmbeddingAdaptation(of: embedding, rank: rank, scale: scale, random: random)
        }
    }

    package func adaptations(for stack: StackedTarget, random: RandomStream) throws -> [any Adaptation] {
        guard dropout == 0 else {
            throw AdapterError(
                .configuration,
                "dropout \(dropout) does not go with \(stack.path): an adapter of a parameter changes the weight itself, and "
                    + "has no input of its own; set the dropout to 0")
        }
        let (rank, scale) = try rankAndScale(stack.path)
        let factors = StackedLoRAFactors(of: stack, rank: rank, scale: scale, random: random)
        return stack.projections.compactMap { projection in
            projection.stack.map { StackedLoRAAdaptation(factors, $0) }
        }
    }

    private func rankAndScale(_ path: String, _ former: String? = nil) throws -> (rank: Int, scale: Double) {
        let rank = try rank(of: path, former: former)
        let alpha = try alphaPattern.value(for: path) ?? former.flatMap(alphaPattern.value) ?? alpha
        return (rank, alpha / (useRSLoRA ? Double(rank).squareRoot() : Double(rank)))
    }
}

/// The two factors of one projection.
final class LoRAAdaptation: Adaptation {
    /// `[r, in]`.
    let a: Parameter
    /// `[out, r]`.
    let b: Parameter
    let scale: Float
    private let dropout: Float

    init(of projection: Projection, rank: Int, scale: Double, dropout: Double, random: RandomStream) {
        let bound = 1 / Float(projection.inputSize).squareRoot()
        let key = PEFTFolder.keyPrefix + projection.path
        a = Parameter(
            "\(key).lora_A.weight",
            random.substream(projection.path).uniform([rank, projection.inputSize], low: -bound, high: bound),
            isTrainable: true)
        b = Parameter("\(key).lora_B.weight", Tensor(zeros: [projection.outputSize, rank]), isTrainable: true)
        self.scale = Float(scale)
        self.dropout = Float(dropout)
    }

    var parameters: [Parameter] { [a, b] }

    func forward(_ x: Tensor, projection: Projection, context: ForwardContext) -> Tensor {
        var input = x
        if dropout > 0, let stream = context.dropout {
            input = x.dropout(dropout, stream: stream.substream(projection.path))
        }
        let (weight, bias) = projection.current
        if !weight.isTrainable, bias?.isTrainable != true {
            return x.linear(
                weight.tensor, bias: bias?.tensor, layout: projection.layout,
                lowRank: LowRankUpdate(input: input, a: a.tensor, b: b.tensor, scale: scale))
        }
        let base = projection.base(x)
        return input.linear(a.tensor).linear(b.tensor, scale: scale, adding: consume base)
    }

    func weightDelta(for projection: Projection) -> Tensor {
        let (a, b) = (a.tensor.detached(), b.tensor.detached())
        return switch projection.layout {
        case .outputByInput: b.linear(a, layout: .inputByOutput, scale: scale)
        case .inputByOutput: a.transposed().linear(b, scale: scale)
        }
    }
}

extension Tensor {
    /// The transpose of a small matrix, without a gradient.
    func transposed() -> Tensor {
        let result = Tensor(uninitialized: [columns, rows])
        for row in 0..<rows {
            for column in 0..<columns { result.pointer[column * rows + row] = pointer[row * columns + column] }
        }
        return result
    }
}
