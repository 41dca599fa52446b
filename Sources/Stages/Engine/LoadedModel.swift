import Adapters
package import Foundation
package import Layers
import Models
package import PipelineSpec
import TensorCore
package import Tokenizers

/// A base with its tokenizer and, where asked for, an adapter: what evaluation, merging and generation start from.
package final class LoadedModel {
    package let folder: URL
    package let model: any LanguageModel
    /// `nil` for a base without a tokenizer.
    package let tokenizer: Tokenizer?
    /// The adapter on the model, if there is one.
    let adapter: AttachedAdapter?
    /// Tokens that end a text: those of `generation_config.json` or `config.json`, and the tokenizer's.
    package let stopIDs: Set<Int32>

    /// Loads a Hugging Face folder and an adapter folder in PEFT's format.
    ///
    /// - Throws: the error of the floor that cannot read its file, naming it.
    package init(base: URL, adapter: URL? = nil, precision: JobManifest.Precision = .fp32) throws {
        folder = base
        let model = try ModelRegistry.load(folder: base, matrixType: precision.matrixType)
        self.model = model
        let names = try FileManager.default.contentsOfDirectory(atPath: base.path)
        tokenizer = TokenizerFiles.areComplete(names) ? try Tokenizer.load(folder: base) : nil
        self.adapter = try adapter.map { try PEFTFolder.read($0, attachingTo: model) }
        stopIDs = try Self.stopIDs(in: base).union(tokenizer?.eosTokenID.map { [$0] } ?? [])
    }

    /// The tokenizer.
    ///
    /// - Throws: ``StageError`` when the base has none.
    func requireTokenizer() throws -> Tokenizer {
        guard let tokenizer else {
            throw StageError(
                "base_incomplete",
                "\(folder.path) has no tokenizer.json, nor another vocabulary; text cannot be turned into tokens")
        }
        return tokenizer
    }

    /// Runs `body` with the adapter off: the model is then exactly the base.
    func withoutAdapter<Result>(_ body: () throws -> Result) rethrows -> Result {
        guard let adapter, adapter.isEnabled else { return try body() }
        adapter.isEnabled = false
        defer { adapter.isEnabled = true }
        return try body()
    }

    /// The logits of sequences, `[N, V]`, without recording.
    func logits(_ sequences: [[Int32]]) -> Tensor {
        Autograd.withoutGradients {
            model.logits(model.hiddenStates(of: TokenBatch(sequences), context: ForwardContext()))
        }
    }

    /// `eos_token_id`, a number or a list of them.
    ///
    /// - Throws: ``StageError`` for a file that is there and is not a JSON object: a model that lost its end token never stops.
    static func stopIDs(in folder: URL) throws -> Set<Int32> {
        for name in ["generation_config.json", "config.json"] {
            let file = folder.appending(path: name)
            guard let data = FileManager.default.contents(atPath: file.path) else { continue }
            guard let object = try? JSONSerialization.jsonObject(with: data), let values = object as? [String: Any]
            else {
                throw StageError("base_incomplete", "\(file.path) is not a JSON object")
            }
            // An id beyond 32 bits is none that a model could say.
            if let id = values["eos_token_id"] as? Int { return Set([id].compactMap { Int32(exactly: $0) }) }
            if let ids = values["eos_token_id"] as? [Int] { return Set(ids.compactMap { Int32(exactly: $0) }) }
        }
        return []
    }
}
