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

            A base that writes no text, and any other with --task, does what the evaluate stage of a job asks of it: classes \
            of texts, words or images, hidden words, pairs of texts.
            """)

    @OptionGroup var engine: EngineOptions
    @Option(
        name: .long,
        help: ArgumentHelp(
            "JSON lines, JSON, CSV, TSV or plain text; also gzip. May be repeated with --task, or for images.",
            valueName: "file"))
    var data: [String]
    @Option(name: .long, help: "What the model is to do, as in a manifest; by default what base and data say.")
    var task: String?
    @Option(name: .customLong("label"), help: "A class; repeated, all of them in their order.")
    var labels: [String] = []
    @Option(name: .long, help: "auto, or a format as in a manifest.")
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
        guard task.map({ JobManifest.Task(rawValue: $0) != nil }) ?? true else {
            throw ValidationError(
                "--task must be one of \(JobManifest.Task.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        guard !data.isEmpty else { throw ValidationError("--data is missing") }
        guard columns.allSatisfy({ $0.contains("=") }) else { throw ValidationError("--column takes FIELD=NAME") }
    }

    mutating func run() throws {
        let files = data.map { CommandLineFile.url($0) }
        for (name, file) in zip(data, files) where !FileManager.default.fileExists(atPath: file.path) {
            throw CommandFailure(.notFound, "\(name): no such file")
        }
        let pairs = columns.map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
        let folders = try engine.folders()
        let writesText = try Engine.run { try TaskEvaluation.writesText(folders.base) }
        guard writesText, task == nil || task == JobManifest.Task.causalLM.rawValue else {
            return try judge(files, folders.base, folders.adapter, Dictionary(pairs.map { ($0[0], $0[1]) }) { $1 })
        }
        guard files.count == 1, let file = files.first else {
            throw ValidationError("text is scored from one file; give --data once")
        }
        let loaded = try engine.load(precision.precision)
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

    /// The same for a model with a head.
    private func judge(_ files: [URL], _ base: URL, _ adapter: URL?, _ columns: [String: String]) throws {
        let evaluation = try Engine.run {
            try TaskEvaluation(
                base: base, adapter: adapter, on: files, task: task.flatMap { JobManifest.Task(rawValue: $0) } ?? .auto,
                labels: labels, format: JobManifest.DataFormat(rawValue: format) ?? .auto, columns: columns)
        }
        guard json else {
            let accuracy = evaluation.accuracy.map { String(format: ", accuracy %.2f%%", 100 * $0) } ?? ""
            return try StandardOutput.line(
                String(
                    format: "%@: loss %.5f%@, on %d judgements of %d records", evaluation.task.rawValue, evaluation.nll,
                    accuracy, evaluation.tokens, evaluation.examples.count))
        }
        try StandardOutput.json([
            "schema": .integer(1), "task": .string(evaluation.task.rawValue), "tokens": .integer(evaluation.tokens),
            "nll": .number(evaluation.nll), "accuracy": .optional(evaluation.accuracy),
            "examples": .array(
                evaluation.examples.map {
                    .object([
                        "nll": .number($0.nll), "tokens": .integer($0.tokens),
                        "correct": .optional($0.correct),
                    ])
                }),
        ])
    }
}
