import Foundation
import Layers
import TensorCore

/// What tells one encoder of BERT's line from another: sizes, and what its modules are called.
///
/// Every architecture's own file fills in all of it and hands the result to ``Encoder`` and its head.
struct EncoderDesign {
    /// What a feed-forward block's inner states go through.
    enum Activation {
        case gelu(GELUForm)
        case relu
    }

    /// Module names below the body's own path, and within a layer.
    struct Names {
        /// The path of the body in a model with a head, with its dot.
        var body: String
        /// The path of a layer but for its number.
        var layer: String
        var query: String
        var key: String
        var value: String
        var attentionOutput: String
        var attentionNorm: String
        var inner: String
        var output: String
        var outputNorm: String
    }

    /// The modules of each head, in the order in which states go through them.
    struct Heads {
        /// A linear map and what follows it.
        struct Step {
            var path: String
            var activation: StepActivation
            /// Whether it belongs to the pretrained body, as BERT's pooler does.
            var isBody = false
        }

        enum StepActivation {
            case none, tanh, relu
        }

        /// What the first token's state goes through; the last one gives the classes.
        var sequence: [Step]
        /// The map that gives every token's classes.
        var token: String
        /// The map, norm and head that give back a hidden token, and the head's bias.
        var maskedTransform: String
        var maskedNorm: String
        var maskedOutput: String
        var maskedBias: String
        /// The pooler that a bare body comes with and sentence embeddings do not use.
        var pooler: String?
    }

    let modelType: String
    let file: String
    let vocabularySize: Int
    /// Rows of the table of positions; ``firstPosition`` of them are never used.
    let positionCount: Int
    let width: Int
    let inner: Int
    let heads: Int
    let layers: Int
    let eps: Float
    /// Standard deviation of new weights.
    let spread: Float
    /// Whether the head for hidden tokens is the embedding.
    let isTied: Bool
    let activation: Activation
    let names: Names
    let headNames: Heads
    let defaultTargets: [String]
    /// Rows of the table that tells texts of a pair apart; `nil` for a model without one.
    var tokenTypes: Int?
    /// The position of a sequence's first token.
    var firstPosition = 0
    /// The id whose tokens all have the position before the first and are not counted.
    var uncountedID: Int32?

    /// The longest sequence there are positions for.
    var contextLength: Int { positionCount - firstPosition }

    /// Reads an activation by one of the names it has in configurations.
    static func activation(_ configuration: ModelConfiguration, key: String) throws -> Activation {
        try configuration.require(key, in: ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
        switch try configuration.word(key, default: "gelu") {
        case "gelu": return .gelu(.erf)
        case "relu": return .relu
        default: return .gelu(.tanh)
        }
    }
}

extension EncoderDesign {
    /// Sizes and options under the names that BERT and RoBERTa share.
    init(
        bertLike configuration: ModelConfiguration, names: Names, heads headNames: Heads
    ) throws {
        try configuration.require("position_embedding_type", in: ["absolute"])
        try configuration.require("is_decoder", false)
        try configuration.require("add_cross_attention", false)
        self.init(
            modelType: try configuration.word("model_type", default: ""), file: configuration.file.path,
            vocabularySize: try configuration.size("vocab_size", default: 30522),
            positionCount: try configuration.size("max_position_embeddings", default: 512),
            width: try configuration.size("hidden_size", default: 768),
            inner: try configuration.size("intermediate_size", default: 3072),
            heads: try configuration.size("num_attention_heads", default: 12),
            layers: try configuration.size("num_hidden_layers", default: 12),
            eps: Float(try configuration.number("layer_norm_eps", default: 1e-12)),
            spread: Float(try configuration.number("initializer_range", default: 0.02)),
            isTied: try configuration.flag("tie_word_embeddings", default: true),
            activation: try Self.activation(configuration, key: "hidden_act"), names: names, headNames: headNames,
            defaultTargets: ["query", "value"])
        tokenTypes = try configuration.size("type_vocab_size", default: 2)
    }

    /// - Throws: ``ModelError`` for heads that do not divide the width.
    func validate() throws {
        guard width % heads == 0 else {
            throw ModelError(.configuration, "\(file): a width of \(width) is not a multiple of \(heads) heads")
        }
        guard contextLength > 0 else {
            throw ModelError(
                .configuration, "\(file): max_position_embeddings \(positionCount) leaves no position for a token")
        }
    }
}
