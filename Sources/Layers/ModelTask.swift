/// What a model is for, which is to say which head stands on its body.
package enum ModelTask: Sendable, Hashable {
    /// The next token, from the tokens before it.
    case causalLM
    /// A hidden token, from all others of its sequence.
    case maskedLM
    /// One of `labels` classes for a whole sequence.
    case sequenceClassification(labels: Int)
    /// A number for a whole sequence.
    case sequenceRegression
    /// One of `labels` classes for every token.
    case tokenClassification(labels: Int)
    /// One of `labels` classes for an image.
    case imageClassification(labels: Int)
    /// A vector for a whole sequence: the mean of its tokens' states.
    case featureExtraction

    /// `task_type` of PEFT, whose list has no word for some tasks.
    package var peftTaskType: String? {
        switch self {
        case .causalLM: "CAUSAL_LM"
        case .maskedLM, .imageClassification: nil
        case .sequenceClassification, .sequenceRegression: "SEQ_CLS"
        case .tokenClassification: "TOKEN_CLS"
        case .featureExtraction: "FEATURE_EXTRACTION"
        }
    }

    /// How many classes there are; `nil` for a task without.
    package var labelCount: Int? {
        switch self {
        case .sequenceClassification(let labels), .tokenClassification(let labels), .imageClassification(let labels):
            labels
        case .causalLM, .maskedLM, .featureExtraction, .sequenceRegression: nil
        }
    }

    /// What a head with so many outputs for a sequence is for: transformers takes a single one for a number.
    package static func judgingSequences(outputs: Int) -> ModelTask {
        outputs == 1 ? .sequenceRegression : .sequenceClassification(labels: outputs)
    }

    /// The modules that PEFT trains whole beside an adapter, because a pretrained body comes without them.
    ///
    /// The names are PEFT's for every architecture; a model has one of them. See ``modulesToSave(forTaskType:)``.
    package var modulesToSave: [String] {
        // PEFT has no word for images; its examples save the head by name.
        if case .imageClassification = self { return ["classifier"] }
        return peftTaskType.map(Self.modulesToSave) ?? []
    }

    /// What PEFT adds to `modules_to_save` for a task type (`PeftModelForSequenceClassification` and its like).
    package static func modulesToSave(forTaskType type: String) -> [String] {
        ["SEQ_CLS", "TOKEN_CLS"].contains(type) ? ["classifier", "score"] : []
    }
}

extension ModelTask: CustomStringConvertible {
    /// In words, for messages.
    package var description: String {
        switch self {
        case .causalLM: "causal language modelling"
        case .maskedLM: "masked language modelling"
        case .sequenceClassification(let labels): "classification of sequences into \(labels) classes"
        case .sequenceRegression: "a number for a sequence"
        case .tokenClassification(let labels): "classification of tokens into \(labels) classes"
        case .imageClassification(let labels): "classification of images into \(labels) classes"
        case .featureExtraction: "sentence embeddings"
        }
    }
}
