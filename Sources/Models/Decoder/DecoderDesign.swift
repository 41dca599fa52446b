import Foundation
import Layers
import TensorCore

/// What tells one decoder of the LLaMA line from another.
///
/// Everything a configuration says under the names all of them share is read here; an architecture's own file changes what is
/// its own, and hands the result to ``Decoder``.
struct DecoderDesign {
    /// How a layer attends, and by which angles.
    struct Layer {
        /// How many tokens it looks back at most, its own among them; all by default.
        var window: Int?
        /// Index into ``DecoderDesign/rotaries``.
        var rotary = 0
        /// Whether its feed-forward block is a mixture of experts.
        var isSparse = false
    }

    let modelType: String
    let file: String
    let vocabularySize: Int
    let contextLength: Int
    let width: Int
    let inner: Int
    let heads: Int
    let keyValueHeads: Int
    let headSize: Int
    let eps: Float
    /// Standard deviation of new weights.
    let spread: Float
    /// Whether the output head is the embedding.
    let isTied: Bool

    var layers: [Layer]
    var rotaries: [RotaryVariant]
    var defaultTargets = ["q_proj", "v_proj"]
    var queryKeyValueBias = false
    var outputBias = false
    var feedForwardBias = false
    var activation = GateActivation.silu
    /// Added to the stored weights of every norm; 1 for Gemma's.
    var normOffset: Float = 0
    /// Norms over each head of queries and keys.
    var hasHeadNorms = false
    /// Norms also behind attention and feed-forward block, not only before them.
    var hasOutputNorms = false
    /// One map for queries, keys and values, and one for gate and up.
    var isFused = false
    var attentionScale: Float
    /// Caps attention scores and logits; see ``Tensor/softCapped(_:)``.
    var attentionCap: Float?
    var logitCap: Float?
    /// Multiplies the embeddings.
    var embeddingScale: Float = 1
    /// The experts of sparse layers.
    var experts: ExpertDesign?
    var formerNames = FormerNames()

    /// Reads what all decoders of the line have.
    ///
    /// - Parameters:
    ///   - headSize: elements of a head when `head_dim` is not given; the width shared among the heads by default.
    ///   - isTied: what an absent `tie_word_embeddings` means.
    init(
        _ configuration: ModelConfiguration, headSize: Int? = nil, contextLength: Int = 2048, isTied: Bool = false,
        theta: Double = 10000
    ) throws {
        modelType = try configuration.word("model_type", default: "")
        file = configuration.file.path
        let limits = try Self.limits(configuration, contextLength: contextLength)
        vocabularySize = limits.vocabularySize
        self.contextLength = limits.contextLength
        width = try configuration.size("hidden_size")
        inner = try configuration.size("intermediate_size")
        heads = try configuration.size("num_attention_heads")
        keyValueHeads = try configuration.size("num_key_value_heads", default: heads)
        let shared = width / heads
        self.headSize = try configuration.size("head_dim", default: headSize ?? max(shared, 1))
        let isExact = headSize != nil || configuration.has("head_dim") || width % heads == 0
        guard heads % keyValueHeads == 0, self.headSize % 2 == 0, isExact else {
            throw ModelError(
                .configuration,
                "\(file): \(heads) heads over \(keyValueHeads) key/value heads of size \(self.headSize), "
                    + "hidden_size \(width); heads must divide evenly and have an even size")
        }
        eps = Float(try configuration.number("rms_norm_eps", default: 1e-6))
        spread = Float(try configuration.number("initializer_range", default: 0.02))
        self.isTied = try configuration.flag("tie_word_embeddings", default: isTied)
        layers = Array(repeating: Layer(), count: try configuration.size("num_hidden_layers"))
        attentionScale = 1 / Float(self.headSize).squareRoot()
        rotaries = []
        rotaries = [try rotary(configuration, theta: theta)]
    }

    static func limits(_ configuration: ModelConfiguration, contextLength: Int = 2048) throws -> ModelLimits {
        let trained = try configuration.size("max_position_embeddings", default: contextLength)
        return ModelLimits(
            vocabularySize: try configuration.size("vocab_size"),
            contextLength: RotaryVariant.contextLength(of: configuration.values, trained: trained))
    }

    /// The rotary embedding of all layers, or of one kind.
    func rotary(
        _ configuration: ModelConfiguration, layers: RotaryVariant.LayerKind? = nil, theta: Double
    ) throws -> RotaryVariant {
        do {
            return try RotaryVariant(
                configuration: configuration.values, headDimension: headSize, layers: layers, defaultTheta: theta)
        } catch let error as RotaryVariant.Unsupported {
            throw ModelError(.unsupported, "\(file): \(error)")
        }
    }

    /// Gives layers their windows: those that `layer_types` calls sliding, or else those that `isSliding` says.
    ///
    /// - Parameter window: the configured length; `nil` turns every window off.
    mutating func slide(
        _ configuration: ModelConfiguration, window: Int?, where isSliding: (_ layer: Int) -> Bool
    ) throws {
        let kinds = try configuration.words("layer_types")
        if let kinds, kinds.count != layers.count {
            throw ModelError(
                .configuration, "\(file): layer_types names \(kinds.count) layers, num_hidden_layers is \(layers.count)"
            )
        }
        for index in layers.indices {
            guard let kinds else {
                layers[index].window = isSliding(index) ? window : nil
                continue
            }
            switch RotaryVariant.LayerKind(rawValue: kinds[index]) {
            case .full: layers[index].window = nil
            case .sliding:
                guard let window else {
                    throw ModelError(
                        .configuration, "\(file): layer_types has sliding layers; sliding_window is missing")
                }
                layers[index].window = window
            case nil:
                throw ModelError(
                    .unsupported,
                    "\(file): layer_types \"\(kinds[index])\" is not supported; "
                        + "supported: full_attention, sliding_attention")
            }
        }
    }
}
