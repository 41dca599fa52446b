import Foundation
import PipelineSpec

/// `{"prompt": …, "completion": …}` a line: the completion is learned, the prompt is only read.
enum CompletionFormat: RecordFormat {
    static let name = JobManifest.DataFormat.completion
    static let summary = "completion: one JSON object a line with prompt and completion; only the completion is trained"

    static func expects(fileExtension: String) -> Bool { JSONLines.isUsual(fileExtension: fileExtension) }

    static func recognises(firstLine: Data, fileExtension: String, columns: [String: String]) -> Bool {
        guard let object = try? JSONSerialization.jsonObject(with: firstLine) as? [String: Any] else { return false }
        return object[columns["prompt"] ?? "prompt"] != nil && object[columns["completion"] ?? "completion"] != nil
    }

    static func forEachRecord(
        in file: PinnedFile, columns: [String: String], passageBytes: Int,
        _ body: (Result<Record, BadRecord>) throws -> Void
    ) throws {
        try JSONLines.forEachObject(
            in: file,
            read: { object throws(JSONLines.BadField) in
                let prompt = try JSONLines.string("prompt", in: object, columns)
                let completion = try JSONLines.string("completion", in: object, columns)
                guard !completion.isEmpty else { throw JSONLines.BadField(reason: "the completion is empty") }
                return PromptedText(prompt: prompt, completion: completion)
            }, body)
    }
}
