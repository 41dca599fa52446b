package import Foundation
package import Layers
package import TensorCore

/// What a tokenizer and a dataset must know of a model before its weights are read.
package struct ModelLimits: Sendable {
    /// How many token ids the model has embeddings for.
    package let vocabularySize: Int
    /// The longest sequence it has positions for; for images, the bytes of one.
    package let contextLength: Int
    /// What an image is cut into, by channels and sides; `nil` for text.
    package let images: ImageGeometry?

    init(vocabularySize: Int, contextLength: Int, images: ImageGeometry? = nil) {
        self.vocabularySize = vocabularySize
        self.contextLength = contextLength
        self.images = images
    }
}

/// What a model reads, and which way it looks: this decides what it can be trained for.
package enum ModelFamily: Sendable {
    /// Text, from the front to the back.
    case decoder
    /// Text, as a whole.
    case encoder
    /// Images.
    case vision
}

/// An architecture: models that can be made from a configuration and weights.
protocol Architecture: SendableMetatype {
    /// What a checkpoint of it is for when its configuration does not say.
    static var defaultTask: ModelTask { get }

    /// What kind of model it is.
    static var family: ModelFamily { get }

    /// Reads the limits of a configuration.
    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits

    /// Takes every weight from `weights`, by the names the reference implementation has in memory.
    ///
    /// - Throws: ``ModelError`` with code `unsupported` for a task the architecture has no head for.
    static func model(
        _ configuration: ModelConfiguration, _ weights: WeightReader, for task: ModelTask
    ) throws -> any SequenceModel
}

/// An architecture of decoders, which gets its head for classification from ``DecoderClassifier``.
protocol ModelArchitecture: Architecture {
    /// Takes every weight from `weights`, by the names the reference implementation has in memory.
    static func model(_ configuration: ModelConfiguration, _ weights: WeightReader) throws -> any LanguageModel
}

extension Architecture {
    static var family: ModelFamily { .encoder }
}

extension ModelArchitecture {
    static var family: ModelFamily { .decoder }
    static var defaultTask: ModelTask { .causalLM }

    static func model(
        _ configuration: ModelConfiguration, _ weights: WeightReader, for task: ModelTask
    ) throws -> any SequenceModel {
        switch task {
        case .causalLM: return try model(configuration, weights)
        case .sequenceClassification, .sequenceRegression:
            weights.isHeadless = true
            return try DecoderClassifier(
                body: model(configuration, weights), outputs: task.labelCount ?? 1,
                padID: configuration.tokenID("pad_token_id"),
                weights)
        case .maskedLM, .tokenClassification, .imageClassification, .featureExtraction:
            throw ModelError(.unsupported, "\(configuration.file.path): \(task) is not supported with a decoder")
        }
    }
}

/// The architectures this engine knows, by `model_type` of their `config.json`.
package enum ModelRegistry {
    /// One line an architecture.
    static let architectures: [String: any Architecture.Type] = [
        "bert": BERT.self,
        "distilbert": DistilBERT.self,
        "gemma": Gemma.self,
        "gemma2": Gemma2.self,
        "gemma3_text": Gemma3.self,
        "gpt2": GPT2.self,
        "llama": Llama.self,
        "mistral": Mistral.self,
        "mixtral": Mixtral.self,
        "phi3": Phi3.self,
        "qwen2": Qwen2.self,
        "qwen2_moe": Qwen2MoE.self,
        "qwen3": Qwen3.self,
        "qwen3_moe": Qwen3MoE.self,
        "roberta": RoBERTa.self,
        "vit": ViTArchitecture.self,
    ]

    /// Loads a Hugging Face checkpoint folder as a language model.
    ///
    /// - Parameter matrixType: what products with the matrices of linear maps and the tables of embeddings are made in: F32,
    ///   or BF16, to which matrices of other types are then rounded. BF16 in files stays so in memory either way. Norms,
    ///   biases and what is trained are F32.
    /// - Throws: ``ModelError`` or a weight-file error that names the file, key or tensor; `unsupported` for an encoder.
    package static func load(folder: URL, matrixType: DType = .float32) throws -> any LanguageModel {
        try languageModel(ModelConfiguration(folder: folder)) {
            try WeightReader(checkpoint: folder, matrixType: matrixType)
        }
    }

    /// Loads a Hugging Face checkpoint folder for a task.
    ///
    /// - Parameters:
    ///   - task: `nil` for what the folder's configuration says.
    ///   - newHeadSeed: a head for `task` that the checkpoint does not have is drawn from it; `nil` refuses such a
    ///     checkpoint.
    ///   - matrixType: as in ``load(folder:matrixType:)``.
    /// - Throws: as ``load(folder:matrixType:)``.
    package static func load(
        folder: URL, for task: ModelTask?, newHeadSeed: UInt64? = nil, matrixType: DType = .float32
    ) throws -> any SequenceModel {
        let configuration = try ModelConfiguration(folder: folder)
        return try make(configuration, for: task ?? self.task(configuration)) {
            let weights = try WeightReader(checkpoint: folder, matrixType: matrixType)
            weights.newHeads = newHeadSeed.map { RandomStream(seed: $0) }
            return weights
        }
    }

    /// A language model of the given configuration with random weights.
    ///
    /// - Parameter storedType: what the matrices are in memory, as if a file held them so; by default what they are
    ///   multiplied in.
    package static func random(
        _ configuration: ModelConfiguration, seed: UInt64, matrixType: DType = .float32, storedType: DType? = nil
    ) throws -> any LanguageModel {
        try languageModel(configuration) {
            WeightReader(random: RandomStream(seed: seed), matrixType: matrixType, storedType: storedType)
        }
    }

    /// A model of the given configuration for a task, with random weights.
    package static func random(
        _ configuration: ModelConfiguration, for task: ModelTask, seed: UInt64
    ) throws -> any SequenceModel {
        try make(configuration, for: task) { WeightReader(random: RandomStream(seed: seed)) }
    }

    /// What a checkpoint with this configuration is for.
    package static func task(_ configuration: ModelConfiguration) throws -> ModelTask {
        try configuration.task(default: architecture(configuration).defaultTask)
    }

    /// A model of the given configuration whose weights have shapes and no values: for questions about its size.
    ///
    /// It takes no memory to speak of, however large the model. It must not compute.
    package static func outline(_ configuration: ModelConfiguration) throws -> any LanguageModel {
        try languageModel(configuration) { WeightReader() }
    }

    /// The same for a task.
    package static func outline(_ configuration: ModelConfiguration, for task: ModelTask) throws -> any SequenceModel {
        try make(configuration, for: task) { WeightReader() }
    }

    /// What the configuration says of vocabulary and context.
    package static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        try architecture(configuration).limits(configuration)
    }

    private static func architecture(_ configuration: ModelConfiguration) throws -> any Architecture.Type {
        let type = try configuration.word("model_type", default: "")
        guard let architecture = architectures[type] else {
            let known = architectures.keys.sorted().joined(separator: ", ")
            throw ModelError(
                .unsupported, "\(configuration.file.path): model_type \"\(type)\" is not supported; supported: \(known)"
            )
        }
        return architecture
    }

    /// What kind of model a configuration describes.
    package static func family(_ configuration: ModelConfiguration) throws -> ModelFamily {
        try architecture(configuration).family
    }

    private static func languageModel(
        _ configuration: ModelConfiguration, _ weights: () throws -> WeightReader
    ) throws -> any LanguageModel {
        let architecture = try architecture(configuration)
        guard architecture is any ModelArchitecture.Type,
            let model = try make(configuration, for: .causalLM, weights) as? any LanguageModel
        else {
            throw ModelError(
                .unsupported,
                "\(configuration.file.path): an encoder such as \(try configuration.word("model_type", default: "")) "
                    + "predicts no next token; it is for classification, hidden tokens and sentence embeddings")
        }
        return model
    }

    private static func make(
        _ configuration: ModelConfiguration, for task: ModelTask, _ weights: () throws -> WeightReader
    ) throws -> any SequenceModel {
        let architecture = try architecture(configuration)
        if let labels = task.labelCount, labels < 2 {
            throw ModelError(
                .unsupported,
                "\(configuration.file.path): a head of \(labels) class(es) leaves nothing to choose"
            )
        }
        let weights = try weights()
        let model = try architecture.model(configuration, weights, for: task)
        try weights.finish()
        return model
    }
}
