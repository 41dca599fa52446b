import PipelineSpec

/// What a model card says of a task: Hugging Face's words for it, and what its numbers count.
struct TaskCard {
    /// `pipeline_tag` of the hub.
    let pipelineTag: String
    /// The end of the class of transformers that the base is loaded with.
    let modelClass: String
    /// What the loss is a mean over, and what was counted.
    let unit: String

    init(_ task: JobManifest.Task) {
        (pipelineTag, modelClass, unit) =
            switch task {
            case .auto, .causalLM: ("text-generation", "ForCausalLM", "token")
            case .sequenceClassification: ("text-classification", "ForSequenceClassification", "text")
            case .sequenceRegression: ("text-classification", "ForSequenceClassification", "text")
            case .tokenClassification: ("token-classification", "ForTokenClassification", "tagged word")
            case .maskedLM: ("fill-mask", "ForMaskedLM", "hidden token")
            case .embedding: ("sentence-similarity", "", "pair")
            case .imageClassification: ("image-classification", "ForImageClassification", "image")
            }
    }
}
