package import Foundation
package import Layers
import TensorCore

/// What a tokenizer and a dataset must know of a model before its weights are read.
package struct ModelLimits: Sendable {
    /// How many token ids the model has embeddings for.
    package let vocabularySize: Int
    /// The longest sequence it has positions for.
    package let contextLength: Int
}

/// An architecture: a model that can be made from a configuration and weights.
protocol ModelArchitecture: SendableMetatype {
    /// Reads the limits of a configuration.
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits

    /// Takes every weight from `weights`, by the names the reference implementation has in memory.
    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel
}

/// The architectures this engine knows, by `model_type` of their `config.json`.
package enum ModelRegistry {
    /// One line an architecture.
    static let architectures: [String: any ModelArchitecture.Type] = [
        "gemma": Gemma.self,
        "gemma2": Gemma2.self,
        "gemma3_text": Gemma3.self,
        "gpt2": GPT2.self,
        "llama": Llama.self,
        "mistral": Mistral.self,
        "phi3": Phi3.self,
        "qwen2": Qwen2.self,
        "qwen3": Qwen3.self,
    ]

    /// Loads a Hugging Face checkpoint folder as it is.
    ///
    /// - Throws: ``ModelError`` or a weight-file error that names the file, key or tensor.
    package static func load(folder: URL) throws -> any LanguageModel {
        try make(ModelConfiguration(folder: folder)) { try WeightReader(checkpoint: folder) }
    }

    /// A model of the given configuration with random weights.
    package static func random(_ configuration: ModelConfiguration, seed: UInt64) throws -> any LanguageModel {
        try make(configuration) { WeightReader(random: RandomStream(seed: seed)) }
    }

    /// A model of the given configuration whose weights have shapes and no values: for questions about its size.
    ///
    /// It takes no memory to speak of, however large the model. It must not compute.
    package static func outline(_ configuration: ModelConfiguration) throws -> any LanguageModel {
        try make(configuration) { WeightReader() }
    }

    /// What the configuration says of vocabulary and context.
    package static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try architecture(configuration).limits(configuration)
    }

    private static func architecture(_ configuration: ModelConfiguration) throws -> any ModelArchitecture.Type {
        let type = try configuration.word("model_type", default: "")
        guard let architecture = architectures[type] else {
            let known = architectures.keys.sorted().joined(separator: ", ")
            throw ModelError(
                .unsupported, "\(configuration.file.path): model_type \"\(type)\" is not supported; supported: \(known)"
            )
        }
        return architecture
    }

    private static func make(
        _ configuration: ModelConfiguration, _ weights: () throws -> WeightReader
    ) throws -> any LanguageModel {
        let architecture = try architecture(configuration)
        let weights = try weights()
        let model = try architecture.model(configuration, weights)
        try weights.finish()
        return model
    }
}
