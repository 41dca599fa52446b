import Foundation
import Images
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Models

@Suite struct ViTTests {
    private struct Expected: Decodable {
        let labels: [Int]
        let logits: [[Float]]
    }

    /// What a gzip file holds.
    private func unpacked(_ file: URL) throws -> [UInt8] {
        let process = Process(), pipe = Pipe()
        process.executableURL = URL(filePath: "/bin/gzip")
        process.arguments = ["-dc", file.path]
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return [UInt8](data)
    }

    private func load(_ folder: URL) throws -> ViT {
        try #require(ModelRegistry.load(folder: folder, for: nil) as? ViT)
    }

    /// A real classifier on real digits, by way of bytes and of the base's own preprocessing.
    @Test func digits() throws {
        guard let folder = try TestData.folder("models/vit-mnist-trained-here"),
            let images = try TestData.folder("datasets/mnist/test-1000-images-idx3-ubyte.gz"),
            let labels = try TestData.folder("datasets/mnist/test-1000-labels-idx1-ubyte.gz")
        else { return }
        let model = try load(folder)
        let expected = try JSONDecoder().decode(
            Expected.self, from: Data(contentsOf: folder.appending(path: "expected_logits.json")))
        let area = 28 * 28, bytes = try unpacked(images).dropFirst(16), classes = try unpacked(labels).dropFirst(8)
        #expect(model.contextLength == area && bytes.count == 1000 * area && classes.count == 1000)
        let preprocessor = try ImagePreprocessor(folder: folder)
        let sequences = try (0..<1000).map { index in
            let start = bytes.startIndex + index * area
            let image = PixelImage(
                width: 28, height: 28, channels: 1, pixels: Array(bytes[start..<start + area]))
            return try preprocessor.resized(image, channels: 1).planes.map { Int32($0) }
        }
        let batch = TokenBatch(sequences, labels: classes.map { Int32($0) })
        let logits = Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()).values }
        #expect(zip(logits, expected.logits.flatMap { $0 }).allSatisfy { abs($0 - $1) < 1e-4 })
        #expect(expected.labels == classes.prefix(4).map { Int($0) })
        let scored = Autograd.withoutGradients { model.score(batch, scale: 1 / 1000, context: ForwardContext()) }
        let right = zip(scored.predictions, batch.labels).count { $0 == $1 }
        #expect(right == 970, "transformers reads 970 of 1000 digits, and this \(right)")
        // Numbers made by hand are those that bytes become.
        let pixels = Tensor(
            sequences.prefix(4).flatMap { $0.map { Float((Double($0) / 255 - 0.5) / 0.5) } }, shape: [4, area])
        let direct = Autograd.withoutGradients { model.outputs(ofPixels: pixels).values }
        #expect(zip(direct, logits).allSatisfy { abs($0 - $1) < 1e-5 })
    }

    /// Loaded and written without a change, a checkpoint has the bytes transformers gave it, under the names of files.
    @Test func writesWhatTransformersWrites() throws {
        let base = try Fixtures.folder("golden/vit"), target = try TemporaryFolder()
        try CheckpointWriter.write(load(base), to: target.url, base: base)
        for file in ["config.json", "model.safetensors"] {
            let bytes = try Data(contentsOf: base.appending(path: file))
            #expect(try Data(contentsOf: target.url.appending(path: file)) == bytes, "\(file)")
        }
    }

    @Test func everyWeightIsTrainedWhenAllAre() throws {
        let model = try load(Fixtures.folder("golden/vit"))
        for parameter in model.parameters { parameter.isTrainable = true }
        let images = (0..<3).map { (image: Int) -> [Int32] in
            (0..<model.contextLength).map { (place: Int) -> Int32 in Int32((place * 37 + image * 91) % 256) }
        }
        let batch = TokenBatch(images, labels: [0, 2, 1])
        let scored = model.score(batch, scale: 1 / 3, context: ForwardContext())
        scored.loss.backward()
        for parameter in model.parameters { #expect(parameter.gradient?.isFinite == true, "\(parameter.name)") }
        // A bias of all keys moves every score of a query alike, and so nothing.
        for parameter in model.parameters where !parameter.name.hasSuffix("k_proj.bias") {
            #expect((parameter.gradient?.largestMagnitude ?? 0) > 0, "\(parameter.name)")
        }
        #expect(scored.negativeLogLikelihoods.count == 3)
    }

    @Test func impossibleSizesAreRefused() throws {
        let base = try Fixtures.folder("golden/vit")
        for (key, value, word) in [
            ("patch_size", 3, "patches"), ("num_channels", 2, "channels"), ("num_attention_heads", 3, "heads"),
        ] {
            let folder = try TemporaryFolder()
            try FileManager.default.copyItem(
                at: base.appending(path: "model.safetensors"), to: folder.url.appending(path: "model.safetensors"))
            let data = try Data(contentsOf: base.appending(path: "config.json"))
            var values = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
            values[key] = value
            try JSONSerialization.data(withJSONObject: values).write(to: folder.url.appending(path: "config.json"))
            let error = #expect(throws: ModelError.self) { try ModelRegistry.load(folder: folder.url, for: nil) }
            #expect(error?.description.contains(word) == true, "\(String(describing: error))")
        }
    }

    @Test func textModelsAreNoVisionModels() throws {
        let base = try Fixtures.folder("golden/vit")
        #expect(throws: ModelError.self) { try ModelRegistry.load(folder: base) }
        #expect(throws: ModelError.self) { try ModelRegistry.load(folder: base, for: .maskedLM) }
        let limits = try ModelRegistry.limits(ModelConfiguration(folder: base))
        #expect(limits.vocabularySize == 256 && limits.contextLength == 3 * 8 * 8)
    }
}
