import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// An adapter that teaches a classifier of upright digits to read turned ones.
@Suite struct RotatedDigitsTests {
    private struct Digits {
        let images: [[Int32]]
        let labels: [Int32]

        /// Digits turned clockwise by 90 degrees.
        init?(_ name: String) throws {
            func unpacked(_ part: String) throws -> [UInt8]? {
                guard let file = try TestData.folder("datasets/mnist/\(name)-\(part)-ubyte.gz") else { return nil }
                let process = Process(), pipe = Pipe()
                process.executableURL = URL(filePath: "/bin/gzip")
                process.arguments = ["-dc", file.path]
                process.standardOutput = pipe
                try process.run()
                let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
                process.waitUntilExit()
                return [UInt8](data)
            }
            guard let pixels = try unpacked("images-idx3"), let classes = try unpacked("labels-idx1") else {
                return nil
            }
            labels = classes.dropFirst(8).map { Int32($0) }
            let side = 28
            images = labels.indices.map { index in
                let first = 16 + index * side * side
                return (0..<side * side).map { place in
                    let (row, column) = (place / side, place % side)
                    return Int32(pixels[first + (side - 1 - column) * side + row])
                }
            }
        }

        func batch(_ rows: ArraySlice<Int>) -> TokenBatch {
            TokenBatch(rows.map { images[$0] }, labels: rows.map { labels[$0] })
        }
    }

    private func accuracy(_ model: any SequenceModel, _ digits: Digits) -> Double {
        let right = stride(from: 0, to: digits.images.count, by: 100).reduce(0) { sum, start in
            let batch = digits.batch(Array(start..<start + 100)[...])
            let scored = Autograd.withoutGradients { model.score(batch, scale: 1, context: ForwardContext()) }
            return sum + zip(scored.predictions, batch.labels).count { $0 == $1 }
        }
        return Double(right) / Double(digits.images.count)
    }

    /// transformers and PEFT with the same recipe: see `Tests/Reference/rotated_mnist.py`.
    private static let reference = (base: 0.193, mean: 0.8977)

    @Test func turnedDigitsAreLearned() throws {
        guard let folder = try TestData.folder("models/vit-mnist-trained-here"), let train = try Digits("train-7000"),
            let test = try Digits("test-1000")
        else { return }
        var results: [Double] = []
        for seed in UInt64(0)..<3 {
            let model = try ModelRegistry.load(folder: folder, for: nil)
            let base = accuracy(model, test)
            #expect(abs(base - Self.reference.base) < 0.002, "the base reads \(base) of the turned digits")
            let adapter = try AttachedAdapter(
                LoRA(rank: 8, alpha: 16), targets: .list(["q_proj", "v_proj"]), to: model,
                modulesToSave: model.task.modulesToSave, seed: seed)
            let adamW = ReferenceAdamW(adapter.parameters, learningRate: 2e-3, decay: 0)
            for epoch in 0..<3 {
                let order = RandomStream(seed: seed).substream(epoch).permutation(train.images.count)
                for start in stride(from: 0, to: order.count, by: 32) {
                    let rows = order[start..<min(start + 32, order.count)]
                    model.score(train.batch(rows), scale: 1 / Float(rows.count), context: ForwardContext())
                        .loss.backward()
                    adamW.update()
                }
            }
            results.append(accuracy(model, test))
        }
        let mean = results.reduce(0, +) / 3
        print("turned digits: base \(Self.reference.base), here \(results), PEFT \(Self.reference.mean)")
        #expect(mean >= Self.reference.mean - 0.01)
    }
}
