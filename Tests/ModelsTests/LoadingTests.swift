import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Models

/// A copy of a fixture that a test may damage.
private func copy(_ fixture: String) throws -> (TemporaryFolder, URL) {
    let temporary = try TemporaryFolder()
    let folder = temporary.url.appending(path: "base")
    try FileManager.default.copyItem(at: Fixtures.folder(fixture), to: folder)
    return (temporary, folder)
}

private func edit(_ folder: URL, _ change: (inout [String: Any]) -> Void) throws {
    let file = folder.appending(path: "config.json")
    var values = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    change(&values)
    try JSONSerialization.data(withJSONObject: values).write(to: file)
}

private func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "nothing was thrown"
    } catch {
        return "\(error)"
    }
}

@Suite struct LoadingTests {
    @Test func aMissingFileIsNamed() throws {
        let (temporary, folder) = try copy("golden/llama")
        try FileManager.default.removeItem(at: folder.appending(path: "config.json"))
        #expect(message { _ = try ModelRegistry.load(folder: folder) }.contains("config.json is missing"))
        withExtendedLifetime(temporary) {}
    }

    @Test func anUnknownArchitectureListsTheKnownOnes() throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { $0["model_type"] = "mamba" }
        let text = message { _ = try ModelRegistry.load(folder: folder) }
        #expect(text.contains("mamba") && text.contains("gpt2, llama"))
        withExtendedLifetime(temporary) {}
    }

    @Test func aMisshapenTensorIsNamedWithBothShapes() throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { $0["intermediate_size"] = 48 }
        let text = message { _ = try ModelRegistry.load(folder: folder) }
        #expect(text.contains("mlp.gate_proj.weight") && text.contains("48"))
        withExtendedLifetime(temporary) {}
    }

    @Test(
        arguments: [
            ("num_attention_heads", 3, "heads must divide evenly"),
            ("num_attention_heads", 4096, "heads must divide evenly"),
            ("rope_theta", 0, "rope_theta must be a positive number"),
            ("rope_theta", -10000, "rope_theta must be a positive number"),
            ("rope_theta", "high", "rope_theta must be a positive number, not high"),
        ] as [(String, any Sendable, String)])
    func headsAndAnglesThatCannotBeAreRefused(key: String, value: any Sendable, words: String) throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { values in
            for other in ["head_dim", "num_key_value_heads", "rope_parameters"] { values[other] = nil }
            values[key] = value
        }
        let loaded = message { _ = try ModelRegistry.load(folder: folder) }
        #expect(loaded.contains("config.json") && loaded.contains(words), "\(loaded)")
        let random = message { _ = try ModelRegistry.random(ModelConfiguration(folder: folder), seed: 1) }
        #expect(random.contains(words), "\(random)")
        withExtendedLifetime(temporary) {}
    }

    @Test func aMissingTensorIsNamed() throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { $0["num_hidden_layers"] = 3 }
        #expect(message { _ = try ModelRegistry.load(folder: folder) }.contains("model.layers.2."))
        withExtendedLifetime(temporary) {}
    }

    @Test func anUnexpectedTensorIsNamed() throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { $0["num_hidden_layers"] = 1 }
        #expect(message { _ = try ModelRegistry.load(folder: folder) }.contains("model.layers.1."))
        withExtendedLifetime(temporary) {}
    }

    @Test(arguments: [("rope_type", "spiral"), ("hidden_act", "gelu")])
    func anUnsupportedOptionIsNamed(key: String, value: String) throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { values in
            if key == "rope_type" {
                values["rope_parameters"] = ["rope_type": value, "rope_theta": 10000.0]
            } else {
                values[key] = value
            }
        }
        #expect(message { _ = try ModelRegistry.load(folder: folder) }.contains(value))
        withExtendedLifetime(temporary) {}
    }

    @Test func anImpossiblePartialRotationIsRefused() throws {
        let (temporary, folder) = try copy("golden/llama")
        try edit(folder) { $0["partial_rotary_factor"] = 0.1 }
        #expect(message { _ = try ModelRegistry.load(folder: folder) }.contains("partial_rotary_factor 0.1"))
        withExtendedLifetime(temporary) {}
    }

    @Test func bothRotaryDialectsReadTheSame() throws {
        let four = try RotaryVariant(configuration: ["rope_theta": 5000.0, "rope_scaling": NSNull()], headDimension: 8)
        let five = try RotaryVariant(
            configuration: ["rope_parameters": ["rope_theta": 5000.0, "rope_type": "default"]], headDimension: 8)
        #expect(four == five && four.inverseFrequencies(length: 9).count == 4)
    }

    @Test func prefixesMayBeMissing() throws {
        let folder = try Fixtures.folder("golden/gpt2")
        let whole = try ModelRegistry.load(folder: folder)
        let temporary = try TemporaryFolder()
        let files = try CheckpointFiles(folder)
        let stripped =
            try files.names.map { name in
                try files.tensor(name).weightSource(name.hasPrefix("transformer.") ? String(name.dropFirst(12)) : name)
            } + [Tensor(zeros: [1]).weightSource("h.0.attn.masked_bias")]
        try SafetensorsWriter.write(stripped, to: temporary.url.appending(path: "model.safetensors"))
        try FileManager.default.copyItem(
            at: folder.appending(path: "config.json"), to: temporary.url.appending(path: "config.json"))
        let bare = try ModelRegistry.load(folder: temporary.url)
        #expect(
            zip(whole.parameters, bare.parameters).allSatisfy {
                $0.name == $1.name && $0.tensor.values == $1.tensor.values
            })
    }

    @Test func randomWeightsRepeat() throws {
        let configuration = try ModelConfiguration(folder: Fixtures.folder("golden/gpt2"))
        let a = try ModelRegistry.random(configuration, seed: 1), b = try ModelRegistry.random(configuration, seed: 1)
        let c = try ModelRegistry.random(configuration, seed: 2)
        #expect(a.parameters[0].tensor.values == b.parameters[0].tensor.values)
        #expect(a.parameters[0].tensor.values != c.parameters[0].tensor.values)
    }
}
