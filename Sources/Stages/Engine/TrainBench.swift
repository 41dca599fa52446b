import Adapters
package import Foundation
import Layers
import Models
package import PipelineSpec
import TensorCore
import Training

/// LoRA training steps on random weights of a known shape: what `lorajobs bench train` measures.
package struct TrainBench: Sendable {
    /// A model shape to measure on, with the projections that are adapted there unless told otherwise.
    package struct Shape: Sendable {
        package let name: String
        let configuration: String
        let targets: [String]
        /// What the matrices are in the files that are published.
        var published = DType.float32

        /// The model with random weights, which are in memory what they are in the published files, or what they are
        /// multiplied in where that is smaller.
        func model(_ precision: JobManifest.Precision) throws -> any LanguageModel {
            try ModelRegistry.random(
                ModelConfiguration(Data(configuration.utf8), file: URL(filePath: "\(name).json")), seed: 0,
                matrixType: precision.matrixType,
                storedType: precision.matrixType == .float32 ? published : precision.matrixType)
        }
    }

    /// The shapes that performance is quoted on.
    package static let shapes: [Shape] = [
        Shape(name: "gpt2", configuration: #"{"model_type": "gpt2"}"#, targets: ["c_attn"]),
        Shape(
            name: "smollm-135m",
            configuration: """
                {"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
                 "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": true,
                 "max_position_embeddings": 2048, "rope_theta": 10000.0}
                """,
            targets: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            published: .bfloat16),
        Shape(
            name: "tinyllama-1.1b",
            configuration: """
                {"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32,
                 "num_key_value_heads": 4, "intermediate_size": 5632, "vocab_size": 32000, "max_position_embeddings": 2048,
                 "rope_theta": 10000.0}
                """,
            targets: ["q_proj", "v_proj"], published: .bfloat16),
    ]

    package var shape: Shape
    /// Sequences a step, and tokens of each.
    package var batch = 4
    package var length = 256
    package var rank = 8
    package var targets: [String]?
    package var threads = 2
    package var precision = JobManifest.Precision.fp32
    /// Timed steps, after two that warm up.
    package var steps = 5
    /// Whether sequences are instructions of mixed lengths, of which the last 30% is learned, instead of equal ones that
    /// are learned whole; `batch` is then how many examples a step has, laid together without padding.
    package var instructions = false
    /// Whether the backward pass computes each layer again.
    package var recomputesLayers = false
    /// A checkpoint folder of the shape, to load instead of making random weights.
    package var base: URL?

    package init(shape: Shape) { self.shape = shape }

    /// What was measured.
    package struct Result: Codable, Sendable {
        package var schema = 1
        package var config: String
        package var batch: Int
        package var length: Int
        package var rank: Int
        package var precision: String
        package var gradient_checkpointing: Bool
        package var threads: Int
        package var parameters: Int
        package var trained_parameters: Int
        /// From the median step.
        package var tokens_per_second: Double
        package var step_seconds: [Double]
        package var first_step_seconds: Double
        /// Processor seconds over wall seconds in the timed steps.
        package var cpu_over_wall: Double
        package var peak_rss_bytes: Int64
        package var examples_per_second: Double
        /// When the first step had ended, in seconds since 1970: for whoever started the process.
        package var first_step_ended: Double
        /// The time that the model's own large products take alone in this process, as a share of a step's.
        package var gemm_ceiling_fraction: Double
        /// The speed of those.
        package var gemm_gflops: Double
        /// Operations of all products of a step, also of attention and of the adapter, as a share of what could be made in
        /// its time at that speed.
        package var product_ceiling_fraction: Double
        package var losses: [Float]
        package var engine: String
    }

    /// Runs the steps; `onStep` is told each one's seconds.
    package func run(onStep: (_ step: Int, _ seconds: Double) -> Void = { _, _ in }) throws -> Result {
        Parallel.threadCount = threads
        let model =
            try base.map { try ModelRegistry.load(folder: $0, matrixType: precision.matrixType) }
            ?? shape.model(precision)
        let adapter = try AttachedAdapter(
            LoRA(rank: rank, alpha: Double(2 * rank)), targets: TargetModules(.names(.list(targets ?? shape.targets))),
            to: model, seed: 0)
        let optimizer = AdamW(AdamW.Options())
        var seconds: [Double] = [], losses: [Float] = []
        var processor = 0.0, firstStepEnded = 0.0, tokens = 0, targetCount = 0, products = 0.0
        var context = ForwardContext()
        context.recomputesLayers = recomputesLayers
        for step in -2..<steps {
            let parts = makeBatches(step, vocabulary: model.vocabularySize)
            let targets = parts.reduce(0) { $0 + $1.targetCount }
            let (start, used) = (Trainer.monotonicSeconds(), ProcessUsage.cpuSeconds)
            var loss: Float = 0
            for part in parts {
                Autograd.keeping(model.products) {
                    let scored = model.score(part, scale: 1 / Float(targets), context: context)
                    scored.loss.backward()
                    loss += scored.loss.scalar
                }
            }
            optimizer.step(adapter.parameters, learningRate: 1e-4, gradientScale: 1)
            for parameter in adapter.parameters { parameter.zeroGradient() }
            seconds.append(Trainer.monotonicSeconds() - start)
            losses.append(loss)
            if step == -2 { firstStepEnded = Date().timeIntervalSince1970 }
            tokens = parts.reduce(0) { $0 + $1.ids.count }
            targetCount = targets
            products = parts.reduce(0) { $0 + productOperations(model, adapter, $1) }
            if step >= 0 { processor += ProcessUsage.cpuSeconds - used }
            onStep(step, seconds[seconds.count - 1])
        }
        let peak = ProcessUsage.peakRSSBytes
        let timed = Array(seconds.dropFirst(2))
        let median = timed.sorted()[timed.count / 2]
        let ceiling = gemmCeiling(model, rows: tokens, headRows: targetCount)
        return Result(
            config: shape.name, batch: batch, length: length, rank: rank, precision: precision.resolved.rawValue,
            gradient_checkpointing: recomputesLayers, threads: threads,
            parameters: model.parameters.reduce(0) { $0 + $1.tensor.count },
            trained_parameters: adapter.parameters.reduce(0) { $0 + $1.tensor.count },
            tokens_per_second: Double(tokens) / median, step_seconds: timed, first_step_seconds: seconds[0],
            cpu_over_wall: processor / timed.reduce(0, +), peak_rss_bytes: peak,
            examples_per_second: Double(batch) / median, first_step_ended: firstStepEnded,
            gemm_ceiling_fraction: ceiling.seconds / median, gemm_gflops: ceiling.flops / ceiling.seconds / 1e9,
            product_ceiling_fraction: products / median / (ceiling.flops / ceiling.seconds),
            losses: losses, engine: EngineDescription.text)
    }

    /// The length of an instruction: 32 to 512 tokens, most of them short. `Benchmarks/torch_steps.py` has the same.
    private static func instructionLength(_ index: Int) -> Int {
        let share = Double((index * 7919 + 13) % 1000) / 1000
        return 32 + Int(480 * share * share)
    }

    /// The micro-batches of a step: one, or instructions laid together up to some 1024 tokens.
    private func makeBatches(_ step: Int, vocabulary: Int) -> [TokenBatch] {
        let random = RandomStream(seed: 1).substream(step)
        func ids(_ example: Int, _ length: Int) -> [Int32] {
            (0..<length).map { Int32(random.substream(example).bits(at: $0) % UInt64(vocabulary)) }
        }
        guard !instructions else {
            let lengths = (0..<batch).map { Self.instructionLength((step + 2) * batch + $0) }
            var packs: [[Int]] = [[]], room = 1024
            for (example, length) in lengths.enumerated() {
                if length > room { packs.append([]) }
                room = (length > room ? 1024 : room) - length
                packs[packs.count - 1].append(example)
            }
            return packs.map { pack in
                TokenBatch(
                    pack.map { ids($0, lengths[$0]) },
                    scored: pack.map { example in (0..<lengths[example]).map { 10 * $0 >= 7 * lengths[example] } })
            }
        }
        return [TokenBatch((0..<batch).map { ids($0, length) })]
    }

    /// The time a step's large products take alone: forward and input gradient of every projection and, for `headRows`
    /// tokens, of the head, each shape timed by itself in this process (best of three).
    ///
    /// Attention and the adapter's own products are not counted, so a fraction near 1 is out of reach.
    private func gemmCeiling(
        _ model: any LanguageModel, rows: Int, headRows: Int
    ) -> (seconds: Double, flops: Double) {
        var shapes: [GemmShape: Int] = [:]
        for projection in model.projections {
            shapes[
                GemmShape(
                    rows: rows, inputs: projection.inputSize, outputs: projection.outputSize,
                    layout: projection.layout), default: 0] += 1
        }
        let head = model.outputHead.tensor
        shapes[
            GemmShape(rows: headRows, inputs: head.shape[1], outputs: head.shape[0], layout: .outputByInput), default: 0
        ] += 1
        var seconds = 0.0, flops = 0.0
        for (shape, count) in shapes {
            let x = RandomStream(seed: 2).uniform([shape.rows, shape.inputs], low: -1, high: 1)
            let weight = RandomStream(seed: 3).uniform(
                shape.layout == .outputByInput ? [shape.outputs, shape.inputs] : [shape.inputs, shape.outputs], low: -1,
                high: 1
            ).converted(to: precision.matrixType)
            let dy = RandomStream(seed: 4).uniform([shape.rows, shape.outputs], low: -1, high: 1)
            func best(_ body: () -> Tensor) -> Double {
                (0..<3).map { _ in
                    let start = Trainer.monotonicSeconds()
                    let result = body()
                    return withExtendedLifetime(result) { Trainer.monotonicSeconds() - start }
                }.min() ?? 0
            }
            let forward = best { x.linear(weight, layout: shape.layout) }
            let backward = best {
                dy.linear(weight, layout: shape.layout == .outputByInput ? .inputByOutput : .outputByInput)
            }
            seconds += Double(count) * (forward + backward)
            flops += Double(count) * 4 * Double(shape.rows) * Double(shape.inputs) * Double(shape.outputs)
        }
        return (seconds, flops)
    }

    /// Multiplications and additions of the products of a step: forwards and the input's gradient of every projection and, for
    /// tokens with a target, of the head; those of the adapter, and its gradients; and seven of attention (two forwards,
    /// the scores again and four backwards) over the pairs of tokens that see each other.
    private func productOperations(
        _ model: any LanguageModel, _ adapter: AttachedAdapter, _ batch: TokenBatch
    ) -> Double {
        let rows = Double(batch.ids.count)
        let large = model.projections.reduce(0.0) { $0 + Double($1.inputSize) * Double($1.outputSize) }
        let head = Double(model.outputHead.tensor.count) * Double(batch.targetCount)
        let adapted = Double(adapter.parameters.reduce(0) { $0 + $1.tensor.count })
        let pairs = batch.sequences.reduce(0.0) { $0 + Double($1.count) * Double($1.count + 1) / 2 }
        // What leaves attention is as wide as all of its heads.
        let heads = model.projections.filter { $0.path.hasSuffix("attn.c_proj") || $0.path.hasSuffix("o_proj") }
        let columns = heads.reduce(0.0) { $0 + Double($1.inputSize) }
        return 4 * rows * large + 4 * head + 6 * rows * adapted + 14 * pairs * columns
    }

    private struct GemmShape: Hashable {
        let rows: Int
        let inputs: Int
        let outputs: Int
        let layout: WeightLayout
    }
}
