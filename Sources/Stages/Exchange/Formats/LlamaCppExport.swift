import Adapters
import Foundation
import Layers
import Models
import TensorCore

/// GGUF files for llama.cpp: the adapter, and where asked for the base with the adapter in it.
enum LlamaCppExport: ExportFormat {
    static let name = "llama.cpp"

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        guard source.merge == nil else {
            let (file, notes) = try GGUFModel.write(source, to: folder)
            return ["llama-cli -m \(source.place)/\(file) runs the merged model"] + notes
        }
        let architecture = try GGUFArchitecture(ModelConfiguration(folder: source.requireBase()))
        let pairs = try source.pairs(
            for: "llama.cpp", otherwise: "export the merged model instead, with --merge f16")
        let file = "\(source.title)-lora.gguf"
        try GGUFFile(adapter: pairs, named: source.title, for: architecture).write(to: folder.appending(path: file))
        return [
            "llama-cli -m BASE.gguf --lora \(source.place)/\(file) uses it; the base must be the one it was trained on, converted by "
                + "llama.cpp's convert_hf_to_gguf.py or exported here with --merge"
        ] + architecture.notes
    }
}

/// A merged model as one GGUF file.
enum GGUFModel {
    /// - Returns: the file's name, and what the reader does otherwise.
    static func write(
        _ source: ExportSource, to folder: URL, as elements: GGUFElements? = nil
    ) throws -> (file: String, notes: [String]) {
        let base = try source.requireBase()
        let configuration = try ModelConfiguration(folder: base)
        var architecture = try GGUFArchitecture(configuration)
        let elements = elements ?? source.merge.flatMap(GGUFElements.init(rawValue:)) ?? .f16
        let loaded = try LoadedModel(base: base, adapter: source.folder)
        let tokenizer = try loaded.tokenizer.map { _ in
            try GGUFTokenizer(folder: base, vocabularySize: loaded.model.vocabularySize)
        }
        for parameter in loaded.model.parameters {
            guard loaded.adapter?.mergedValues(of: parameter).isFinite ?? true else {
                throw StageError(
                    "non_finite_merge", "the merged weight \(parameter.name) has a value that is not finite")
            }
        }
        let file = "\(source.title)-\(elements.rawValue).gguf"
        try GGUFFile(
            model: loaded.model, with: loaded.adapter, named: source.title, for: architecture, as: elements,
            tokenizer: tokenizer
        ).write(to: folder.appending(path: file))
        architecture.note(loaded.tokenizer == nil ? "the base has no tokenizer: the file takes ids only" : nil)
        return (file, architecture.notes + (tokenizer?.notes ?? []))
    }
}
