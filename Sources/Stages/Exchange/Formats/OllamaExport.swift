import Foundation
import Tokenizers

/// A merged GGUF file and the Modelfile that makes an Ollama model of it.
///
/// Ollama's own `ADAPTER` line needs a base that is byte for byte the one that was trained on; the merged model needs none.
enum OllamaExport: ExportFormat {
    static let name = "ollama"

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        let (file, notes) = try GGUFModel.write(source, to: folder)
        let base = try source.requireBase()
        var lines = ["# \(source.name):\(source.version), \(source.digest)", "FROM ./\(file)"]
        let stops = try LoadedModel.stopTokens(in: base)
        for stop in stops { lines.append("PARAMETER stop \(quoted(stop))") }
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: folder.appending(path: "Modelfile"))
        var all = ["ollama create \(source.name) -f \(source.place)/Modelfile, then ollama run \(source.name)"]
        all.append(
            "Ollama recognises the chat templates of well-known models by the GGUF file; for another one, write a TEMPLATE "
                + "line into the Modelfile")
        return all + notes
    }

    private static func quoted(_ text: String) -> String {
        "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}

extension LoadedModel {
    /// The texts of the tokens that end an answer; empty for a base without a tokenizer.
    static func stopTokens(in base: URL) throws -> [String] {
        let loaded = try LoadedModel(base: base)
        guard let tokenizer = loaded.tokenizer else { return [] }
        return loaded.stopIDs.sorted().compactMap { tokenizer.token(of: $0) }
    }
}
