import Adapters
import Foundation
import Layers
import TensorCore

/// An adapter folder of mlx-lm: `adapters.safetensors` with transposed factors, and its own `adapter_config.json`.
///
/// `y = W x + scale · (x a) b` with `a [in, r]` and `b [r, out]`. `scale` is a plain number and not alpha over rank, and there is
/// one rank and one scale for all modules: what differs by module is multiplied into `b` and filled up with zeros.
/// `num_layers` counts from the last layer; it is set to all of them. After mlx-lm's `tuner/utils.py` and `tuner/lora.py`.
enum MLXExport: ExportFormat {
    static let name = "mlx"

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        let (model, _) = try source.outline()
        guard model is any LanguageModel else {
            throw StageError("unsupported_export", "mlx-lm has language models only")
        }
        if model.modelType == "gpt2", model.tie == nil {
            throw StageError(
                "unsupported_export", "mlx-lm's GPT-2 has no head apart from the embedding, and this base has")
        }
        let pairs = try source.pairs(
            for: "mlx-lm", otherwise: "merge it instead (merge: true in the manifest) and convert the checkpoint")
        let rank = pairs.map(\.rank).max() ?? 1
        let isEven = pairs.allSatisfy { $0.rank == rank && $0.scale == pairs[0].scale }
        let scale = isEven ? pairs.first?.scale ?? 1 : 1
        var sources: [WeightSource] = []
        var keys: Set<String> = []
        for pair in pairs {
            let even = isEven ? pair : pair.padded(to: rank, scaledBy: pair.scale)
            let path = mlxPath(pair.path)
            keys.insert(key(of: path))
            sources.append(even.a.turned().weightSource("\(path).lora_a"))
            sources.append(even.b.turned().weightSource("\(path).lora_b"))
        }
        try SafetensorsWriter.write(sources, to: folder.appending(path: "adapters.safetensors"))
        let layers = Set(model.projections.compactMap { layer(of: $0.path) }).count
        let configuration = TensorCore.JSONValue.sortedObject([
            "fine_tune_type": .string("lora"),
            "model": .string(source.baseName ?? ""),
            "num_layers": .number(layers),
            "lora_parameters": .sortedObject([
                "rank": .number(rank), "scale": .number(scale), "dropout": .number(0.0),
                "keys": .array(keys.sorted().map { .string($0) }),
            ]),
        ])
        try Data((configuration.text + "\n").utf8).write(to: folder.appending(path: "adapter_config.json"))
        return [
            "mlx_lm.generate --model BASE --adapter-path \(source.place) uses it",
            "the base must be in a form that mlx-lm reads, quantised or not",
        ]
    }

    /// The module's path in mlx-lm, whose GPT-2 is named otherwise.
    private static func mlxPath(_ path: String) -> String {
        path.hasPrefix("transformer.h.") ? "model" + path.dropFirst("transformer".count) : path
    }

    /// The path below a layer, which is how mlx-lm names modules to adapt.
    private static func key(of path: String) -> String {
        let components = path.split(separator: ".")
        guard let index = components.firstIndex(where: { Int($0) != nil }) else { return path }
        return components[(index + 1)...].joined(separator: ".")
    }

    private static func layer(of path: String) -> Int? {
        path.split(separator: ".").compactMap { Int($0) }.first
    }
}
