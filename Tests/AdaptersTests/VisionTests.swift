import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Models whose input is no text, or whose output is no logits, with LoRA against what transformers and PEFT computed.
@Suite struct VisionTests {
    struct Settings: Decodable {
        struct Adapter: Decodable { let r: Int, alpha: Double, targets: [String] }
        struct Optimizer: Decodable { let lr: Float, wd: Float, steps: Int, curve: [Float] }
    }

    /// The file's base as a checkpoint folder.
    private func write(_ file: SafetensorsFile, to folder: URL, addingArchitecture name: String? = nil) throws {
        let names = file.names.filter { $0.hasPrefix("base.") }
        try SafetensorsWriter.write(
            names.map { try file.tensor($0).weightSource(String($0.dropFirst(5))) }, metadata: ["format": "pt"],
            to: folder.appending(path: "model.safetensors"))
        guard case .object(var members) = try JSONValue(Data(#require(file.metadata["config"]).utf8), file: "") else {
            return
        }
        if let name {
            members.removeAll { $0.key == "architectures" }
            members.append(.init("architectures", .array([.string(name)])))
        }
        try Data(JSONValue.object(members).text.utf8).write(to: folder.appending(path: "config.json"))
    }

    /// Output, loss, gradients and steps of one golden file.
    private func compare(
        _ file: SafetensorsFile, _ model: any AdaptableModel, outputs: () -> Tensor, loss: () -> Tensor
    ) throws {
        func metadata<Value: Decodable>(_ key: String) throws -> Value {
            try JSONDecoder().decode(Value.self, from: Data(#require(file.metadata[key]).utf8))
        }
        func output() -> [Float] { Autograd.withoutGradients { outputs().values } }
        let settings: Settings.Adapter = try metadata("lora")
        let optimizer: Settings.Optimizer = try metadata("adamw")
        #expect(largestDifference(output(), try file.floats(of: "out.base")) < 1e-5)
        let adapter = try AttachedAdapter(
            LoRA(rank: settings.r, alpha: settings.alpha), targets: .list(settings.targets), to: model,
            taskType: .some(nil), seed: 1)
        let names = Set(file.names.filter { $0.hasPrefix("lora.") }.map { String($0.dropFirst(5)) })
        #expect(Set(adapter.storedParameters.map(\.name)) == names)
        for parameter in adapter.parameters { parameter.assign(try file.tensor("lora.\(parameter.name)").copied()) }
        #expect(largestDifference(output(), try file.floats(of: "out.lora")) < 1e-5)
        let adamW = ReferenceAdamW(adapter.parameters, learningRate: optimizer.lr, decay: optimizer.wd)
        for step in 0..<optimizer.steps {
            let value = loss()
            if step == 0 { #expect(abs(value.scalar - (try file.floats(of: "out.loss")[0])) < 1e-5) }
            #expect(abs(value.scalar - optimizer.curve[step]) < 1e-5, "step \(step)")
            value.backward()
            for parameter in adapter.parameters where step == 0 {
                let expected = try file.floats(of: "grad.\(parameter.name)")
                let largest = expected.reduce(0) { max($0, abs($1)) }
                let got = try #require(parameter.gradient?.values)
                #expect(largestDifference(got, expected) <= 1e-5 * largest + 1e-7, "\(parameter.name)")
            }
            adamW.update()
        }
        for parameter in adapter.parameters {
            let expected = try file.floats(of: "trained.\(parameter.name)")
            #expect(largestDifference(parameter.tensor.values, expected) < 1e-4, "\(parameter.name)")
        }
        #expect(largestDifference(output(), try file.floats(of: "out.trained")) < 1e-5)
    }

    private func integers(_ file: SafetensorsFile, _ name: String) throws -> [Int32] {
        let bytes = try file.bytes(of: name)
        return (0..<bytes.count / 8).map { Int32(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
    }

    private func vit(_ folder: URL) throws -> ViT {
        try #require(ModelRegistry.load(folder: folder, for: nil) as? ViT)
    }

    @Test func imagesEqualTheReference() throws {
        let file = try SafetensorsFile(Fixtures.folder("golden/vit_tiny.safetensors"))
        let folder = try TemporaryFolder()
        try write(file, to: folder.url, addingArchitecture: "ViTForImageClassification")
        let model = try vit(folder.url)
        #expect(model.task == .imageClassification(labels: 3))
        let pixels = try file.tensor("in.pixel_values"), labels = try integers(file, "in.labels")
        try compare(file, model) {
            model.outputs(ofPixels: pixels)
        } loss: {
            model.outputs(ofPixels: pixels).crossEntropy(targets: labels, scale: 1 / Float(labels.count)).loss
        }
    }

    @Test func encodedTextEqualsTheReference() throws {
        let file = try SafetensorsFile(Fixtures.folder("golden/clip_text_tiny.safetensors"))
        let folder = try TemporaryFolder()
        try write(file, to: folder.url)
        let model = try CLIPText(folder: folder.url)
        let ids = try integers(file, "in.input_ids"), length = try file.entry("in.input_ids").shape[1]
        let batch = TokenBatch(stride(from: 0, to: ids.count, by: length).map { Array(ids[$0..<$0 + length]) })
        try compare(file, model) {
            model.hiddenStates(of: batch)
        } loss: {
            // The mean of squares, which is what the file was trained by.
            let y = model.hiddenStates(of: batch)
            let flat = y.reshaped([1, y.count])
            return flat.linear(flat, scale: 1 / Float(y.count)).reshaped([])
        }
    }

    /// Both dialects are read, and each is written as it was; the base has an adapter of the other kind in between.
    @Test(arguments: [("vit", NameDialect.transformers5), ("vit_names_v4", .transformers4)])
    func computesWhatPEFTComputes(name: String, dialect: NameDialect) throws {
        guard let folder = try TestData.folder("golden/peft-adapters/\(name)") else { return }
        let model = try vit(folder.appending(path: "base"))
        let file = try SafetensorsFile(folder.appending(path: "expected.safetensors"))
        let pixels = try file.tensor("in.pixel_values")
        func output() -> [Float] { Autograd.withoutGradients { model.outputs(ofPixels: pixels).values } }
        let base = output()
        #expect(largestDifference(base, try file.floats(of: "out.base")) < 1e-5)
        let adapter = try PEFTFolder.read(folder.appending(path: "adapter"), attachingTo: model)
        #expect(adapter.dialect == dialect)
        let adapted = output()
        #expect(largestDifference(adapted, try file.floats(of: "out.adapter")) < 1e-5)
        let copy = try TemporaryFolder()
        try PEFTFolder.write(adapter, to: copy.url, baseModelNameOrPath: nil)
        let weights = "adapter_model.safetensors"
        #expect(
            try Data(contentsOf: copy.url.appending(path: weights))
                == Data(contentsOf: folder.appending(path: "adapter/\(weights)")))
        adapter.detach()
        #expect(output() == base)
        let again = try PEFTFolder.read(copy.url, attachingTo: model)
        #expect(output() == adapted)
        again.mergeIntoBase()
        #expect(largestDifference(output(), try file.floats(of: "out.merged")) < 1e-5)
    }

    /// One adapter in the names of either release is the same adapter.
    @Test func dialectIsChosen() throws {
        let folder = try Fixtures.folder("golden/vit")
        var seen: [Set<String>] = []
        for (dialect, targets) in [
            (NameDialect.transformers5, ["q_proj", "v_proj"]), (.transformers4, ["query", "value"]),
        ] {
            let model = try vit(folder)
            let adapter = try AttachedAdapter(
                LoRA(rank: 2), targets: .list(targets), to: model, modulesToSave: model.task.modulesToSave, seed: 4,
                dialect: dialect)
            let copy = try TemporaryFolder()
            try PEFTFolder.write(adapter, to: copy.url, baseModelNameOrPath: "x")
            seen.append(Set(try SafetensorsFile(copy.url.appending(path: "adapter_model.safetensors")).names))
            adapter.detach()
            let read = try PEFTFolder.read(copy.url, attachingTo: model)
            #expect(read.dialect == dialect)
            #expect(read.storedParameters.map(\.name) == adapter.storedParameters.map(\.name))
            read.detach()
            let other = dialect == .transformers5 ? NameDialect.transformers4 : .transformers5
            let error = #expect(throws: AdapterError.self) {
                try AttachedAdapter(LoRA(), targets: .list(targets), to: model, seed: 1, dialect: other)
            }
            #expect(error?.description.contains("names in \(dialect)") == true, "\(String(describing: error))")
        }
        let key = "base_model.model.vit."
        #expect(seen[0].contains(key + "layers.0.attention.q_proj.lora_A.weight"))
        #expect(seen[1].contains(key + "encoder.layer.0.attention.attention.query.lora_A.weight"))
        #expect(seen.allSatisfy { $0.contains("base_model.model.classifier.weight") })
    }
}
