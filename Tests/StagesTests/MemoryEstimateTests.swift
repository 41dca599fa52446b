import Adapters
import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// What is foreseen of a model, against the model itself. How well the peak is foreseen, `PlanVerbTests` measures.
@Suite struct MemoryEstimateTests {
    private func configuration(_ text: String) throws -> ModelConfiguration {
        try ModelConfiguration(Data(text.utf8), file: URL(filePath: "config.json"))
    }

    private let small = #"""
        {"model_type":"qwen3","hidden_size":64,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,
         "head_dim":16,"intermediate_size":96,"vocab_size":100,"max_position_embeddings":128}
        """#

    @Test func anOutlineHasTheShapesOfTheModelAndTakesNoMemory() throws {
        let configuration = try configuration(small)
        let model = try ModelRegistry.random(configuration, seed: 1), outline = try ModelRegistry.outline(configuration)
        #expect(model.parameters.map(\.name) == outline.parameters.map(\.name))
        #expect(model.parameters.map(\.tensor.shape) == outline.parameters.map(\.tensor.shape))
        #expect(model.projections.map(\.path) == outline.projections.map(\.path))

        // 280 GB of weights, on any machine.
        let before = ProcessUsage.peakRSSBytes
        let large = try ModelRegistry.outline(
            self.configuration(
                #"""
                {"model_type":"llama","hidden_size":8192,"num_hidden_layers":80,"num_attention_heads":64,
                 "num_key_value_heads":8,"intermediate_size":28672,"vocab_size":128256}
                """#))
        #expect(large.parameters.reduce(0) { $0 + $1.tensor.count } > 70_000_000_000)
        #expect(ProcessUsage.peakRSSBytes - before < 64 << 20)
    }

    @Test func whatIsTrainedIsCountedExactly() throws {
        var manifest = JobManifest(name: "small", base: .random(config: "nowhere"))
        let model = try ModelRegistry.random(try configuration(small), seed: 1)
        for targets in [JobManifest.Targets.allLinear, .suffixes(["q_proj", "down_proj"]), .architectureDefault] {
            manifest.adapter.targets = targets
            let estimate = try MemoryEstimate(
                ModelRegistry.outline(configuration(small)), manifest, microBatches: [256], longest: 64)
            let adapter = try AttachedAdapter(
                LoRA(rank: manifest.adapter.rank), targets: TargetModules(manifest: targets), to: model, seed: 1)
            #expect(estimate.trainedParameters == adapter.parameters.reduce(0) { $0 + $1.tensor.count })
            #expect(estimate.parameters == model.parameters.reduce(0) { $0 + $1.tensor.count })
            adapter.detach()
        }
    }

    /// Matrices that files hold as BF16 stay so, unless they are trained.
    @Test func matricesStayWhatFilesHold() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "lorajobs-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(small.utf8).write(to: folder.appending(path: "config.json"))
        let model = try ModelRegistry.random(configuration(small), seed: 1)
        let matrices = model.parameters.filter { $0.tensor.shape.count > 1 }.reduce(0) { $0 + $1.tensor.count }
        let others = model.parameters.reduce(0) { $0 + $1.tensor.count } - matrices
        func estimate(_ change: (inout JobManifest) -> Void = { _ in }) throws -> MemoryEstimate {
            var manifest = JobManifest(name: "small", base: .folder(folder.path))
            manifest.data.format = .text
            manifest.train.precision = .fp32
            change(&manifest)
            return try MemoryEstimate(of: manifest)
        }
        for (type, bytes) in [(DType.float32, 4), (.bfloat16, 2), (.float16, 4)] {
            let written = folder.appending(path: "written")
            try CheckpointWriter.write(model, to: written, base: folder, dtype: type)
            let name = "model.safetensors"
            try? FileManager.default.removeItem(at: folder.appending(path: name))
            try FileManager.default.moveItem(at: written.appending(path: name), to: folder.appending(path: name))
            let plain = try estimate()
            #expect(plain.weights == Int64(bytes * matrices + 4 * others), "\(type)")
            #expect((plain.conversion > 0) == (type == .float16), "\(type)")
            let full = try estimate { $0.adapter.method = .full }
            #expect(full.weights == Int64(4 * (matrices + others)), "\(type)")
            #expect((full.conversion > 0) == (type != .float32), "\(type)")
        }
    }

    @Test func moreTakesMore() throws {
        func estimate(_ tokens: Int, _ change: (inout JobManifest) -> Void = { _ in }) throws -> MemoryEstimate {
            // Weights that are drawn would be trained in single precision.
            var manifest = JobManifest(name: "small", base: .folder("nowhere"))
            manifest.adapter.targets = .suffixes(["v_proj"])
            manifest.train.precision = .fp32
            change(&manifest)
            return try MemoryEstimate(
                ModelRegistry.outline(configuration(small)), manifest, microBatches: [tokens], longest: 64)
        }
        let plain = try estimate(256)
        // What is kept as bf16 takes half; factors of the adapter do not.
        let half = try estimate(256) { $0.train.precision = .bf16 }
        #expect(half.activations < plain.activations * 6 / 10 && half.activations >= plain.activations / 2)
        let full = try estimate(256) { ($0.train.precision, $0.adapter.method) = (.bf16, .full) }
        #expect(full.activations >= plain.activations)
        #expect(try estimate(512).activations > plain.activations)
        #expect(try estimate(256) { $0.adapter.targets = .allLinear }.activations > plain.activations)
        #expect(try estimate(256) { $0.adapter.dropout = 0.1 }.activations >= plain.activations)
        #expect(try estimate(256) { $0.adapter.method = .full }.trained > plain.trained)
        #expect(try estimate(256) { $0.data.validation = .fraction(0) }.trained < plain.trained)
        let recomputed = try MemoryEstimate(
            ModelRegistry.outline(configuration(small)), JobManifest(name: "small", base: .random(config: "nowhere")),
            microBatches: [256], longest: 64, recomputesLayers: true)
        #expect(recomputed.recomputesLayers && recomputed.activations < plain.activations)
    }
}
