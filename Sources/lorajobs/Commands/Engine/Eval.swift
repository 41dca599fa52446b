import ArgumentParser
import Foundation
import PipelineSpec
import Stages

struct Eval: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Score a file with a base, with or without an adapter: loss and perplexity.",
        discussion: """
            One record is one example, with the tokenizer's special tokens and no end token; the first token is not \
            scored, and what is longer than the context is scored in consecutive windows.
            """)

    @OptionGroup var engine: EngineOptions
    @Option(name: .long, help: ArgumentHelp("JSON lines, JSON, CSV, TSV or plain text; also gzip.", valueName: "file"))
    var data: String
    @Option(name: .long, help: "auto, text, completion, chat, alpaca or classification.")
    var format: String = "auto"
    @Option(
        name: .customLong("column"),
        help: ArgumentHelp(
            "The record's own name of a field, such as prompt=question. May be repeated.", valueName: "field=name"))
    var columns: [String] = []
    @OptionGroup var precision: PrecisionOption
    @Flag(name: .long, help: "Print one JSON object, with every example's own numbers.") var json = false

    func validate() throws {
        guard JobManifest.DataFormat(rawValue: format) != nil else {
            throw ValidationError(
                "--format must be one of \(JobManifest.DataFormat.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        guard columns.allSatisfy({ $0.contains("=") }) else { throw ValidationError("--column takes FIELD=NAME") }
    }

    mutating func run() throws {
        let file = CommandLineFile.url(data)
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw CommandFailure(.notFound, "\(data): no such file")
        }
        let loaded = try engine.load(precision.precision)
        let pairs = columns.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        var progress = EngineProgress("scoring")
        let evaluation = try Engine.run {
            try TextEvaluation(
                of: loaded, on: file, format: JobManifest.DataFormat(rawValue: format) ?? .auto,
                columns: Dictionary(pairs.map { ($0[0], $0[1]) }) { $1 }
            ) { progress.show($0) }
        }
        progress.end()
        guard json else {
            return try StandardOutput.line(
                String(
                    format: "loss %.5f nats per token, perplexity %.4f, on %d tokens of %d records", evaluation.nll,
                    evaluation.perplexity, evaluation.tokens, evaluation.examples.count))
        }
        try StandardOutput.json([
            "schema": .integer(1), "tokens": .integer(evaluation.tokens), "nll": .number(evaluation.nll),
            "perplexity": .number(evaluation.perplexity),
            "examples": .array(
                evaluation.examples.map {
                    .object(["nll": .number($0.nll), "tokens": .integer($0.tokens)])
                }),
        ])
    }
}
