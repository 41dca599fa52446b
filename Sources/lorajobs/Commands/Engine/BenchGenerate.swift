import ArgumentParser
import Foundation
import PipelineSpec
import Stages

struct BenchGenerate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Time greedy generation on random weights of a known shape.",
        discussion: """
            read_ceiling_fraction compares the speed at which weights are read, each once a token, with what this machine \
            reads from memory. Matrices are in memory what the published files of the shape hold: bf16, except for gpt2.
            """)

    @Option(name: .long, help: "\(TrainBench.shapes.map(\.name).joined(separator: ", ")).")
    var config = "gpt2"
    @Option(name: .long, help: "Tokens of the prompt.") var prompt = 32
    @Option(name: .long, help: "Tokens to add.") var tokens = 128
    @OptionGroup var precision: PrecisionOption
    @OptionGroup var threads: ThreadOptions
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    func validate() throws {
        guard TrainBench.shapes.contains(where: { $0.name == config }) else {
            throw ValidationError("--config must be one of \(TrainBench.shapes.map(\.name).joined(separator: ", "))")
        }
        guard prompt > 0, tokens > 2 else { throw ValidationError("--prompt must be positive, --tokens at least 3") }
    }

    mutating func run() throws {
        guard let shape = TrainBench.shapes.first(where: { $0.name == config }) else { return }
        var bench = GenerateBench(shape: shape)
        bench.prompt = prompt
        bench.tokens = tokens
        bench.precision = precision.precision
        threads.apply()
        bench.threads = threads.count
        let result = try Engine.run { try bench.run() }
        if json { return try StandardOutput.write(ProtocolJSON.encode(result)) }
        try StandardOutput.line(
            String(
                format:
                    "%@ %@, %d threads: %.1f tokens/s, %.0f MB peak, weights at %.0f%% of the speed of reading (%.1f GB/s)",
                config, result.precision, result.threads, result.tokens_per_second, Double(result.peak_rss_bytes) / 1e6,
                100 * result.read_ceiling_fraction, result.read_bytes_per_second / 1e9))
    }
}
