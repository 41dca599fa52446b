import Foundation
import Layers
import Models
package import PipelineSpec
import TensorCore
import Training

/// Greedy generation with a key/value cache on random weights of a known shape: what `lorajobs bench generate` measures.
package struct GenerateBench: Sendable {
    package var shape: TrainBench.Shape
    /// Tokens of the prompt, and tokens to add.
    package var prompt = 32
    package var tokens = 128
    package var threads = 2
    package var precision = JobManifest.Precision.fp32

    package init(shape: TrainBench.Shape) { self.shape = shape }

    /// What was measured.
    package struct Result: Codable, Sendable {
        package var schema = 1
        package var config: String
        package var prompt: Int
        package var tokens: Int
        package var precision: String
        package var threads: Int
        /// New tokens, without the prompt and the first one, a second.
        package var tokens_per_second: Double
        /// The prompt and the first token.
        package var first_token_seconds: Double
        /// Bytes of weights that a token reads: every matrix but the rows of embeddings it does not look up.
        package var weight_bytes: Int
        /// What this process reads from memory a second with as many threads: the better of before and after.
        package var read_bytes_per_second: Double
        /// Share of that with which a token's weights are read.
        package var read_ceiling_fraction: Double
        package var peak_rss_bytes: Int64
        package var engine: String
    }

    /// Generates twice, the first time to warm up.
    package func run() throws -> Result {
        Parallel.threadCount = threads
        let model = try shape.model(precision)
        let ids = (0..<prompt).map { Int32($0 * 31 % model.vocabularySize) }
        func generate() throws -> [Double] {
            var times = [Trainer.monotonicSeconds()]
            _ = try Generator(model).greedy(ids, maximum: tokens) { _ in times.append(Trainer.monotonicSeconds()) }
            return times
        }
        _ = try generate()
        // What the second time takes is the same; measuring what can be read takes more.
        let peak = ProcessUsage.peakRSSBytes
        // Neighbours on a shared machine take of the memory's speed, now more, now less: what it was at its best, around
        // the generation, is what could have been read.
        let before = Self.readBandwidth()
        let times = try generate()
        let read = max(before, Self.readBandwidth())
        guard times.count > 2 else {
            throw StageError("usage", "\(shape.name): the context has no room for \(prompt) and \(tokens) tokens")
        }
        let perSecond = Double(times.count - 2) / (times[times.count - 1] - times[1])
        let bytes = (model.projections.map(\.weight) + [model.outputHead]).reduce(0) {
            $0 + $1.tensor.count * $1.tensor.dtype.byteCount
        }
        return Result(
            config: shape.name, prompt: prompt, tokens: tokens, precision: precision.resolved.rawValue,
            threads: threads, tokens_per_second: perSecond, first_token_seconds: times[1] - times[0],
            weight_bytes: bytes, read_bytes_per_second: read,
            read_ceiling_fraction: perSecond * Double(bytes) / read, peak_rss_bytes: peak,
            engine: EngineDescription.text)
    }

    /// Bytes a second of a look at far more memory than caches hold, best of five.
    private static func readBandwidth() -> Double {
        let block = Tensor(zeros: [64 << 20])
        let seconds = (0..<5).map { _ in
            let start = Trainer.monotonicSeconds()
            _ = block.isFinite
            return Trainer.monotonicSeconds() - start
        }
        return Double(4 * block.count) / (seconds.min() ?? 1)
    }
}
