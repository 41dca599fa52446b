import Layers
import Models
import TensorCore

/// The sizes of a model that decide what a training step keeps, read off its named projections and norms.
struct ModelShape {
    /// What one layer takes, in columns of tensors with a row a token.
    struct Layer {
        /// Tensors kept for the backward pass as they are.
        var kept: [Int] = []
        /// Tensors that are rounded for it where products of BF16 round their operands.
        var rounded: [Int] = []
        /// Gradients that are alive beside them at the worst moment.
        var passing: [Int] = []
    }

    let width: Int
    /// Elements of the head's parameters.
    let headCount: Int
    private let groups: [(projections: [Projection], norms: [Parameter])]
    /// The share of the tokens that pass a projection.
    private let share: (Projection) -> Double
    /// Whether attention multiplies what the matrices do; encoders' computes with floats.
    private let roundsAttention: Bool

    init(_ model: any SequenceModel) {
        share = { model.tokenShare(of: $0) }
        roundsAttention = model is any LanguageModel
        width = model.projections.first?.inputSize ?? 1
        headCount = model.heads.reduce(0) { $0 + $1.parameters.reduce(0) { $0 + $1.tensor.count } }
        /// `model.layers.3.self_attn.q_proj` to `model.layers.3`.
        func layer(_ path: String) -> String? {
            let parts = path.split(separator: ".")
            return parts.firstIndex { Int($0) != nil }.map { parts[...$0].joined(separator: ".") }
        }
        var order: [String] = []
        var projections: [String: [Projection]] = [:], norms: [String: [Parameter]] = [:]
        for projection in model.projections {
            let name = layer(projection.path) ?? projection.path
            if projections[name] == nil { order.append(name) }
            projections[name, default: []].append(projection)
        }
        for parameter in model.parameters where parameter.tensor.shape.count == 1 && parameter.name.hasSuffix("weight")
        {
            if let name = layer(parameter.name) { norms[name, default: []].append(parameter) }
        }
        groups = order.map { (projections[$0] ?? [], norms[$0] ?? []) }
    }

    var layerCount: Int { groups.count }

    /// - Parameters:
    ///   - adapted: paths of the projections whose own parameters are trained.
    ///   - rank: of their factors; 0 for none.
    ///   - dropout: whether each adapted projection reads a copy of its input.
    func layers(adapted: Set<String>, rank: Int, dropout: Bool) -> [Layer] {
        // Below the first trained parameter nothing asks for a gradient.
        guard let first = groups.firstIndex(where: { $0.projections.contains { adapted.contains($0.path) } }) else {
            return []
        }
        return groups[first...].enumerated().map { index, group in
            layer(group.projections, group.norms, adapted, rank, dropout, isFirst: index == 0 && rank > 0)
        }
    }

    private func layer(
        _ projections: [Projection], _ norms: [Parameter], _ adapted: Set<String>, _ rank: Int, _ dropout: Bool,
        isFirst: Bool
    ) -> Layer {
        var layer = Layer()
        let sizes = Dictionary(projections.map { (Self.role($0.path), $0) }) { first, _ in first }
        // LayerNormOp, RMSNormOp: the input. Nothing asks for the gradient of the first layer's.
        for norm in norms {
            if norm.name.contains("q_norm") {
                layer.rounded.append(sizes[.query]?.outputSize ?? width)
            } else if norm.name.contains("k_norm") {
                layer.rounded.append(sizes[.key]?.outputSize ?? width)
            } else {
                layer.rounded.append(width)
            }
        }
        if isFirst, !layer.rounded.isEmpty { layer.rounded.removeFirst() }
        // An expert sees some of the tokens only.
        func seen(_ columns: Int, of projection: Projection) -> Int {
            Int((Double(columns) * share(projection)).rounded(.up))
        }
        func keep(_ columns: Int, of projection: Projection) { layer.rounded.append(seen(columns, of: projection)) }
        func keepForAttention(_ columns: Int) {
            if roundsAttention { layer.rounded.append(columns) } else { layer.kept.append(columns) }
        }
        // LinearOp keeps the input of a trained weight: once for all that read it, unless dropout makes a copy for each.
        var inputs: Set<String> = []
        for projection in projections where adapted.contains(projection.path) {
            let role = Self.role(projection.path)
            if rank > 0 { layer.kept.append(seen(rank, of: projection)) }
            // What attention made is kept by AttentionOp.
            let module = projection.path.split(separator: ".").dropLast().joined(separator: ".")
            let source = "\(module) \(role.source)"
            let isKept = role.source == .attention || !inputs.insert(source).inserted
            if dropout || !isKept { keep(projection.inputSize, of: projection) }
        }
        for projection in projections {
            switch Self.role(projection.path) {
            // AttentionOp: queries, keys, values, and its result; GELUTanhOp and GatedUnitOp: their inputs.
            case .gate, .up, .inner: keep(projection.outputSize, of: projection)
            case .query, .key, .value, .fusedAttention: keepForAttention(projection.outputSize)
            case .attentionOutput: keepForAttention(projection.inputSize)
            // ExpertRouting: what the experts say, since their weights have gradients.
            case .down:
                if share(projection) < 1 { layer.kept.append(seen(projection.outputSize, of: projection)) }
            // A kind this table does not know: input and output, which is the most there can be.
            case .other: layer.kept += [projection.inputSize, projection.outputSize]
            }
        }
        let feedForward = projections.last { Self.role($0.path) == .down }
        let inner = feedForward.map { Int((Double($0.inputSize) * share($0)).rounded(.up)) } ?? 4 * width
        let isGated = sizes[.gate] != nil || sizes[.inner].map { $0.outputSize == 2 * inner } ?? false
        // The gradients of the activation and of what went into it, and those of the residual stream.
        layer.passing = Array(repeating: inner, count: isGated ? 3 : 2) + Array(repeating: width, count: 4)
        for role in [Role.query, .key, .value, .fusedAttention] {
            if let projection = sizes[role] { layer.passing.append(projection.outputSize) }
        }
        return layer
    }

    /// What a projection does in its layer, by its name.
    enum Role: Hashable {
        case query, key, value, fusedAttention, attentionOutput, gate, up, inner, down, other

        /// What it reads.
        enum Source { case attentionNorm, attention, feedForwardNorm, activation, other }

        var source: Source {
            switch self {
            case .query, .key, .value, .fusedAttention: .attentionNorm
            case .attentionOutput: .attention
            case .gate, .up, .inner: .feedForwardNorm
            case .down: .activation
            case .other: .other
            }
        }
    }

    private static func role(_ path: String) -> Role {
        let parts = path.split(separator: ".").suffix(2)
        return switch parts.last {
        case "q_proj", "query", "q_lin": .query
        case "k_proj", "key", "k_lin": .key
        case "v_proj", "value", "v_lin": .value
        case "c_attn", "qkv_proj": .fusedAttention
        case "o_proj", "out_proj", "out_lin": .attentionOutput
        case "c_proj": path.hasSuffix("attn.c_proj") ? .attentionOutput : .down
        case "gate_proj", "w1": .gate
        case "up_proj", "w3": .up
        case "c_fc", "gate_up_proj", "fc1", "lin1": .inner
        case "down_proj", "w2", "fc2", "lin2": .down
        case "dense" where path.hasSuffix("attention.output.dense"): .attentionOutput
        case "dense" where parts.first == "intermediate": .inner
        case "dense" where parts.first == "output": .down
        default: .other
        }
    }
}
