import ArgumentParser
import Foundation
import PipelineSpec
import Stages
import Tokenizers

struct BenchTokenize: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Time the encoding of the lines of a text file on one thread.",
        discussion: "The file is read before the clock starts; ids are kept, tokens and offsets are not made.")

    @Option(name: .long, help: ArgumentHelp("A tokenizer's folder or file.", valueName: "dir|file"))
    var tokenizer: String
    @Option(name: .long, help: ArgumentHelp("A text file in UTF-8.", valueName: "file"))
    var input: String
    @Option(name: .long, help: "Passes over the file, each timed.") var passes = 1
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    struct Result: Encodable {
        var schema = 1
        var bytes: Int
        var lines: Int
        var tokens: Int
        var load_seconds: Double
        /// One for each pass.
        var seconds: [Double]
        var peak_rss_bytes: Int64
    }

    func validate() throws {
        guard passes > 0 else { throw ValidationError("--passes must be positive") }
    }

    mutating func run() throws {
        let url = CommandLineFile.url(tokenizer)
        guard let data = FileManager.default.contents(atPath: CommandLineFile.url(input).path) else {
            throw CommandFailure(.notFound, "\(input): no such file, or not readable")
        }
        let clock = ContinuousClock()
        var loaded: Tokenizer?
        let loading = try clock.measure { loaded = try TokenizeText.load(url, named: tokenizer) }
        guard let loaded else { return }
        var seconds: [Double] = []
        var tokens = 0
        var lines = 0
        data.withUnsafeBytes { raw in
            let utf8 = raw.bindMemory(to: UInt8.self)
            for _ in 0..<passes {
                tokens = 0
                lines = 0
                var ids: [Int32] = []
                let duration = clock.measure {
                    var start = 0
                    while start < utf8.count {
                        let end = utf8[start...].firstIndex(of: UInt8(ascii: "\n")) ?? utf8.count
                        ids.removeAll(keepingCapacity: true)
                        loaded.encodeIDs(
                            UnsafeBufferPointer(rebasing: utf8[start..<end]), addSpecialTokens: true, into: &ids)
                        tokens += ids.count
                        lines += 1
                        start = end + 1
                    }
                }
                seconds.append(duration / .seconds(1))
            }
        }
        let result = Result(
            bytes: data.count, lines: lines, tokens: tokens, load_seconds: loading / .seconds(1), seconds: seconds,
            peak_rss_bytes: ProcessUsage.peakRSSBytes)
        if json { return try StandardOutput.write(ProtocolJSON.encode(result)) }
        let median = seconds.sorted()[seconds.count / 2]
        try StandardOutput.line(
            String(
                format: "%.1f MB/s, %.1f million tokens/s: %d tokens of %d bytes in %.3f s, loaded in %.3f s",
                Double(data.count) / median / 1e6, Double(tokens) / median / 1e6, tokens, data.count, median,
                loading / .seconds(1)))
    }
}
