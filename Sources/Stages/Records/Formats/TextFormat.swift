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

/// Running text: every token is learned, and it is cut into blocks.
struct RunningText: RecordContent {
    let text: String

    var identity: String { text }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        let ids = try encoder.tokens(of: text).ids
        let length = encoder.maxLength
        return stride(from: 0, to: ids.count, by: length).compactMap { start in
            let block = Array(ids[start..<(ids.count - start > length ? start + length : ids.count)])
            return block.count > 1 ? EncodedExample(ids: block) : nil
        }
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? { nil }
}
