import Adapters
import Foundation
import TensorCore

/// A PEFT folder as vLLM takes it: one rank and one scale for all modules, and plain low-rank pairs only.
///
/// vLLM reads `r`, `lora_alpha` and `use_rslora`, but neither `rank_pattern` nor `alpha_pattern` (`vllm/lora/peft_helper.py`):
/// it would compute with a wrong scale. Such an adapter is written anew, scales multiplied into B and ranks filled up
/// with zeros, so that it adds the same.
enum VLLMExport: ExportFormat {
    static let name = "vllm"

    /// Ranks that `--max-lora-rank` takes.
    private static let ranks = [1, 8, 16, 32, 64, 128, 256, 320, 512]

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        let configuration = try PEFTFolder.configuration(in: source.folder)
        try refuse(configuration)
        guard let lora = configuration.method as? LoRA else {
            throw StageError("unsupported_export", "vLLM serves LoRA adapters only")
        }
        var rank = lora.rank
        var notes: [String] = []
        if lora.rankPattern.patterns.isEmpty, lora.alphaPattern.patterns.isEmpty {
            try source.copyFiles(to: folder)
        } else {
            rank = try rewrite(source, to: folder)
            notes.append(
                "ranks or alphas that differed by module are written as one rank of \(rank): it computes the same")
        }
        guard let limit = ranks.first(where: { $0 >= rank }) else {
            throw StageError(
                "unsupported_export", "vLLM takes ranks up to \(ranks[ranks.count - 1]), and this is \(rank)")
        }
        notes.append(
            "start vLLM with --enable-lora --max-lora-rank \(limit) --lora-modules \(source.name)=\(source.place); its "
                + "default of 16 refuses a higher rank")
        return notes
    }

    private static func refuse(_ configuration: PEFTConfiguration) throws {
        guard configuration.modulesToSave.isEmpty else {
            throw StageError(
                "unsupported_export",
                "vLLM refuses adapters with modules_to_save (\(configuration.modulesToSave.joined(separator: ", "))); serve "
                    + "the merged checkpoint instead: merge: true in the manifest")
        }
        guard configuration.targets.parameters.isEmpty else {
            throw StageError("unsupported_export", "vLLM does not take target_parameters; serve the merged checkpoint")
        }
    }

    /// Writes the adapter with one rank and the scale 1; returns the rank.
    private static func rewrite(_ source: ExportSource, to folder: URL) throws -> Int {
        let pairs = try source.pairs(for: "vLLM", otherwise: "serve the merged checkpoint")
        let rank = pairs.map(\.rank).max() ?? 1
        let even = pairs.map { $0.padded(to: rank, scaledBy: $0.scale) }
        let original = try PEFTFolder.configuration(in: source.folder)
        let method = try LoRA(rank: rank, alpha: Double(rank))
        let (model, adapter) = try source.outline()
        let configuration = PEFTConfiguration(
            method: method, targets: original.targets, baseModelNameOrPath: original.baseModelNameOrPath,
            taskType: original.taskType, revision: original.revision)
        try SafetensorsWriter.write(
            even.flatMap { pair in
                let key = PEFTFolder.keyPrefix + pair.path
                return [pair.a.weightSource("\(key).lora_A.weight"), pair.b.weightSource("\(key).lora_B.weight")]
            }, metadata: ["format": "pt"], to: folder.appending(path: "adapter_model.safetensors"))
        let text = configuration.text(for: adapter.match, in: model, dialect: adapter.dialect)
        try Data(text.utf8).write(to: folder.appending(path: PEFTFolder.configurationName))
        for name in ["README.md", "lorajobs.json"] {
            let file = source.folder.appending(path: name)
            guard FileManager.default.fileExists(atPath: file.path) else { continue }
            try FileManager.default.copyItem(at: file, to: folder.appending(path: name))
        }
        return rank
    }
}
