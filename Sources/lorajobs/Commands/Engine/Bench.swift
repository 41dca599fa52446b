import ArgumentParser
import Foundation
import PipelineSpec
import Stages

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure the engine on this machine.",
        subcommands: [BenchTrain.self, BenchGenerate.self, BenchTokenize.self])
}

struct BenchTrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Time LoRA training steps on random weights of a known shape.",
        discussion: """
            gemm_ceiling_fraction compares a step with the model's own large products timed alone in the same process; \
            product_ceiling_fraction counts the operations of attention and of the adapter as well. Matrices are in memory \
            what the published files of the shape hold: bf16, except for gpt2.
            """)

    @Option(name: .long, help: "\(TrainBench.shapes.map(\.name).joined(separator: ", ")).")
    var config = "gpt2"
    @Option(name: .long, help: "Sequences a step.") var batch = 4
    @Option(name: .long, help: "Tokens a sequence.") var length = 256
    @OptionGroup var precision: PrecisionOption
    @Option(name: .long, help: "The adapter's rank.") var rank = 8
    @Option(name: .long, help: ArgumentHelp("Projections to adapt, such as q_proj,v_proj.", valueName: "names"))
    var targets: String?
    @OptionGroup var threads: ThreadOptions
    @Option(name: .long, help: "Timed steps, after two that warm up.") var steps = 5
    @Flag(name: .long, help: "Instructions of mixed lengths whose last 30% is learned, instead of equal sequences.")
    var instructions = false
    @Flag(name: .long, help: "Compute each layer again in the backward pass, which takes less memory.")
    var gradientCheckpointing = false
    @Option(name: .long, help: ArgumentHelp("A checkpoint of the shape to load.", valueName: "dir")) var base: String?
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    func validate() throws {
        guard TrainBench.shapes.contains(where: { $0.name == config }) else {
            throw ValidationError("--config must be one of \(TrainBench.shapes.map(\.name).joined(separator: ", "))")
        }
        guard [batch, length, rank, steps].allSatisfy({ $0 > 0 }) else {
            throw ValidationError("--batch, --length, --rank and --steps must be positive")
        }
    }

    mutating func run() throws {
        guard let shape = TrainBench.shapes.first(where: { $0.name == config }) else { return }
        var bench = TrainBench(shape: shape)
        bench.batch = batch
        bench.length = length
        bench.rank = rank
        bench.targets = targets?.split(separator: ",").map(String.init)
        threads.apply()
        bench.threads = threads.count
        bench.steps = steps
        bench.instructions = instructions
        bench.recomputesLayers = gradientCheckpointing
        bench.base = base.map(CommandLineFile.url)
        bench.precision = precision.precision
        var progress = EngineProgress(config)
        let count = steps + 2
        let result = try Engine.run {
            try bench.run { step, seconds in
                progress.show(Double(step + 3) / Double(count), "\(String(format: "%.2f", seconds)) s a step")
            }
        }
        progress.end()
        if json { return try StandardOutput.write(ProtocolJSON.encode(result)) }
        try StandardOutput.line(
            String(
                format:
                    "%@ %dx%d rank %d %@, %d threads: %.1f tokens/s, %.0f MB peak, products at %.0f%% of the speed of large ones alone (%.0f GFLOP/s)",
                config, batch, length, rank, result.precision, result.threads, result.tokens_per_second,
                Double(result.peak_rss_bytes) / 1e6,
                100 * result.product_ceiling_fraction, result.gemm_gflops))
    }
}
