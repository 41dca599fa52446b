import PipelineSpec

/// Running text, all of which is learned.
enum TextFormat: RecordFormat {
    static let name = JobManifest.DataFormat.text
    static let shape = "text {text}"

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "text") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        RunningText(text: try fields.string("text"))
    }
}

/// Running text, which is cut into blocks. Every token is learned or, where hidden tokens are found, may be hidden.
struct RunningText: RecordContent {
    static let tasks: [JobManifest.Task] = [.causalLM, .maskedLM]

    let text: String

    var identity: String { text }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        let (ids, offsets) = try encoder.tokens(of: text)
        let length = encoder.maxLength
        return stride(from: 0, to: ids.count, by: length).compactMap { start in
            let end = ids.count - start > length ? start + length : ids.count
            guard end - start > 1 else { return nil }
            // Tokens that stand for no text are never hidden.
            let scored = encoder.task == .maskedLM ? offsets[start..<end].map { !$0.isEmpty } : nil
            return EncodedExample(ids: Array(ids[start..<end]), scored: scored)
        }
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? { nil }
}
