import Foundation
import Layers
import TensorCore

/// The experts of a decoder's sparse layers: how many, how chosen, and what transformers calls them.
struct ExpertDesign {
    /// The maps of one expert as modules, which transformers 4 and files of weights have.
    struct Names {
        let gate: String
        let up: String
        let down: String
    }

    let count: Int
    /// How many experts each token goes to.
    let perToken: Int
    /// Elements between up and down.
    let inner: Int
    /// Whether the weights of a token's experts are made to add up to 1.
    let isNormalised: Bool
    let names: Names
    /// Elements between up and down of the expert that every token goes to; `nil` without one.
    var sharedInner: Int?
    /// The weight of the loss that keeps all experts in use; `nil` when the configuration does not ask for it.
    let balanceLossWeight: Float?

    /// - Parameters:
    ///   - counts: keys of the number of experts; the first that is there counts.
    ///   - isNormalised: what the model does, or `nil` to read `norm_topk_prob`.
    init(
        _ configuration: ModelConfiguration, counts: [String], defaultCount: Int, perToken: Int, inner: Int,
        isNormalised: Bool?, names: Names
    ) throws {
        count = try configuration.size(counts.first(where: configuration.has) ?? counts[0], default: defaultCount)
        self.perToken = try configuration.size("num_experts_per_tok", default: perToken)
        self.inner = inner
        self.isNormalised = try isNormalised ?? configuration.flag("norm_topk_prob", default: false)
        self.names = names
        let weight = Float(try configuration.number("router_aux_loss_coef", default: 0.001))
        balanceLossWeight = try configuration.flag("output_router_logits", default: false) ? weight : nil
        guard self.perToken <= count else {
            throw ModelError(
                .configuration,
                "\(configuration.file.path): num_experts_per_tok is \(self.perToken), and there are \(count) experts")
        }
    }
}

/// A feed-forward block of experts, of which each token passes a few: `y = Σ w_e · down_e(act(gate_e x) · up_e x)`, and
/// where there is one `+ σ(gate x) · shared(x)`.
///
/// The tokens of one expert go through its maps together, as one product each. An expert's maps are ordinary
/// projections, so that any adapter method fits them; transformers 5 has them as slices of two parameters.
struct ExpertMixture: FeedForward {
    private struct Expert {
        let gate: Projection
        let up: Projection
        let down: Projection
    }

    private let router: Projection
    private let experts: [Expert]
    private let shared: (block: DenseFeedForward, gate: Projection)?
    private let design: ExpertDesign
    private let activation: GateActivation

    init(path: String, _ design: ExpertDesign, _ decoder: DecoderDesign, _ weights: WeightReader) throws {
        self.design = design
        activation = decoder.activation
        let (width, inner, count) = (decoder.width, design.inner, design.count)
        let spread = WeightReader.Initial.normal(decoder.spread)
        router = try weights.projection(
            "\(path).gate", width, count, .outputByInput, hasBias: false, spread,
            stack: StackedParameter(module: "\(path).gate", name: "weight", rows: 0..<count, outputs: count))
        experts = try (0..<count).map { index in
            func map(_ name: String, _ input: Int, _ rows: Range<Int>, _ stack: (String, Int, of: Int)) throws
                -> Projection
            {
                try weights.projection(
                    "\(path).experts.\(index).\(name)", input, rows.count, .outputByInput, hasBias: false, spread,
                    stack: StackedParameter(
                        module: "\(path).experts", name: stack.0, position: stack.1, index: index, count: count,
                        rows: rows, outputs: stack.of))
            }
            return Expert(
                gate: try map(design.names.gate, width, 0..<inner, ("gate_up_proj", 0, of: 2 * inner)),
                up: try map(design.names.up, width, inner..<2 * inner, ("gate_up_proj", 0, of: 2 * inner)),
                down: try map(design.names.down, inner, 0..<width, ("down_proj", 1, of: width)))
        }
        shared = try design.sharedInner.map { inner in
            let block = try DenseFeedForward(path: "\(path).shared_expert", inner: inner, decoder, weights)
            return (
                block,
                try weights.projection(
                    "\(path).shared_expert_gate", width, 1, .outputByInput, hasBias: false, spread)
            )
        }
    }

    var projections: [Projection] {
        [router] + experts.flatMap { [$0.gate, $0.up, $0.down] }
            + (shared.map { $0.block.projections + [$0.gate] } ?? [])
    }

    func callAsFunction(_ x: Tensor, _ context: ForwardContext) -> Tensor {
        let routing = router(x, context).routed(to: design.perToken, isNormalised: design.isNormalised)
        context.routings?.append(routing)
        let mixed = routing.mixed(
            routing.groups.map { group in
                let expert = experts[group.expert], input = x.gatheringRows(group.tokens)
                let inner = Tensor.gatedUnit(
                    activation, gate: expert.gate(input, context), up: expert.up(input, context))
                return expert.down(inner, context)
            })
        guard let shared else { return mixed }
        return Tensor.sum(mixed, shared.block(x, context).gated(bySigmoidOf: shared.gate(x, context)))
    }
}
