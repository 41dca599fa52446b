package import Foundation
package import Layers
import TensorCore

/// The architectures this engine knows, by `model_type` of their `config.json`.
package enum ModelRegistry {
    /// How to make a model from its configuration and weights.
    typealias Make = @Sendable (ModelConfiguration, WeightReader) throws -> any LanguageModel

    /// One line an architecture.
    static let architectures: [String: Make] = [
        "gpt2": { try GPT2($0, $1) },
        "llama": { try Llama($0, $1) },
    ]

    /// Loads a Hugging Face checkpoint folder as it is.
    ///
    /// - Throws: ``ModelError`` or a weight-file error that names the file, key or tensor.
    package static func load(folder: URL) throws -> any LanguageModel {
        let configuration = try ModelConfiguration(folder: folder)
        return try make(configuration, WeightReader(checkpoint: folder))
    }

    /// A model of the given configuration with random weights.
    package static func random(_ configuration: ModelConfiguration, seed: UInt64) throws -> any LanguageModel {
        try make(configuration, WeightReader(random: RandomStream(seed: seed)))
    }

    private static func make(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel {
        let type = try configuration.word("model_type", default: "")
        guard let architecture = architectures[type] else {
            let known = architectures.keys.sorted().joined(separator: ", ")
            throw ModelError(
                .unsupported, "\(configuration.file.path): model_type \"\(type)\" is not supported; supported: \(known)")
        }
        let model = try architecture(configuration, weights)
        try weights.finish()
        return model
    }
}
