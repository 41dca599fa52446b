import PipelineSpec

/// A prompt and its completion: the completion is learned, the prompt is only read.
enum CompletionFormat: RecordFormat {
    static let name = JobManifest.DataFormat.completion
    static let shape = "completion {prompt, completion}"

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "prompt", "completion") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        let prompt = try fields.string("prompt")
        let completion = try fields.string("completion")
        guard !completion.isEmpty else { throw UnusableRecord(reason: "the completion is empty") }
        return PromptedText(prompt: prompt, completion: completion)
    }
}

/// A prompt that is only read and a completion that is learned.
struct PromptedText: RecordContent {
    let prompt: String
    let completion: String

    var identity: String { prompt + completion }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        [try encoder.example(ofCompletion: completion, after: prompt)]
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        let whole = try encoder.example(ofCompletion: completion, after: prompt)
        return encoder.withoutBeginning(whole, removing: whole.ids.count - encoder.maxLength).map { [$0] }
    }
}
