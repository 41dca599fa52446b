import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec
import Stages

extension Adapters {
    struct Compare: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compare two versions on the same records, and on what they answer.",
            discussion: """
                Each record is scored with both, as the evaluation of a job scores it: encoded as the job of the first version \
                reads its data, with the end token. The interval of the difference comes from drawing the records again in \
                pairs, so what makes a record hard for both drops out; an interval without 0 leaves no doubt. With --prompts \
                the greedy answers stand side by side.
                """)

        @OptionGroup var options: WorkspaceOptions
        @OptionGroup var threads: ThreadOptions
        @Argument(help: "A version, or an adapter folder.") var first: String
        @Argument(help: "Another one, or of the same adapter its number alone.") var second: String
        @Option(name: .long, help: ArgumentHelp("Records to score, as eval takes them.", valueName: "file"))
        var data: String?
        @Option(
            name: .long,
            help: ArgumentHelp("Texts to continue: a line each, or JSON lines with \"prompt\".", valueName: "file"))
        var prompts: String?
        @Option(name: .long, help: ArgumentHelp("The base, where it is not where it was.", valueName: "dir"))
        var base: String?
        @Option(name: .long, help: "auto, text, completion, chat, alpaca or classification.") var format = "auto"
        @Option(name: .long, help: "The most tokens of an answer.") var maxTokens = 64
        @Option(name: .long, help: "Of the interval, in percent.") var confidence = 95.0
        @Option(name: .long, help: "How often the records are drawn again.") var resamples = 10_000
        @Option(name: .long, help: "Of the drawing.") var seed: UInt64 = 0
        @Flag(name: .long, help: "Print one JSON object, with every record's own numbers.") var json = false

        func validate() throws {
            guard data != nil || prompts != nil else { throw ValidationError("give --data, --prompts, or both") }
            guard JobManifest.DataFormat(rawValue: format) != nil else {
                throw ValidationError("--format \(format) is not known")
            }
            guard confidence > 0, confidence < 100 else {
                throw ValidationError("--confidence is a percentage below 100")
            }
            guard (100...1_000_000).contains(resamples) else {
                throw ValidationError("--resamples must be 100 to 1000000")
            }
            guard maxTokens > 0 else { throw ValidationError("--max-tokens must be positive") }
        }

        /// A version or a folder, and what it was trained on.
        private struct Side {
            let name: String
            let folder: URL
            let base: RecordedBase?
            /// How its job read records.
            var reading: JobManifest.Data?
        }

        mutating func run() throws {
            threads.apply()
            let one = try side(first, after: nil), two = try side(second, after: first)
            var request = AdapterComparison.Request(base: try base(one, two), first: one.folder, second: two.folder)
            request.data = try data.map(Self.file)
            if let reading = one.reading ?? two.reading { request.job = reading }
            request.format = JobManifest.DataFormat(rawValue: format) ?? .auto
            request.prompts = try prompts.map(Self.prompts) ?? []
            (request.maxTokens, request.confidence) = (maxTokens, confidence / 100)
            (request.resamples, request.seed) = (resamples, seed)
            var progress = EngineProgress("comparing")
            let comparison = try Engine.run { try AdapterComparison(request) { progress.show($0) } }
            progress.end()
            if json { return try StandardOutput.json(Self.json(comparison, one.name, two.name)) }
            try StandardOutput.write(text(comparison, one.name, two.name))
        }

        // MARK: What is compared

        private func side(_ text: String, after other: String?) throws -> Side {
            let folder = CommandLineFile.url(text)
            if FileManager.default.fileExists(atPath: folder.appending(path: "adapter_config.json").path) {
                return Side(name: text, folder: folder, base: nil)
            }
            let workspace = try options.locate()
            var reference = try ArtifactReference(Int(text) == nil ? text : other ?? text)
            if let number = Int(text) { reference.selector = .version(number) }
            let version = try ArtifactStore(workspace.artifacts).resolve(reference)
            // An imported version has no manifest, and one of another time may not be readable here.
            let manifest = version.record["lineage"]?["manifest"].flatMap {
                try? JSONDecoder().decode(JobManifest.self, from: $0.data())
            }
            return Side(
                name: version.reference, folder: version.url, base: RecordedBase(of: version, workspace: workspace),
                reading: manifest?.data)
        }

        private func base(_ one: Side, _ two: Side) throws -> URL {
            if let base {
                let url = CommandLineFile.url(base)
                guard FileManager.default.fileExists(atPath: url.appending(path: "config.json").path) else {
                    throw CommandFailure(.notFound, "\(base) is not a checkpoint folder: it has no config.json")
                }
                return url
            }
            if let a = one.base?.name, let b = two.base?.name, a != b {
                throw CommandFailure(
                    .usage,
                    "\(one.name) is of the base \(a), \(two.name) of \(b); name the one to compare on with --base")
            }
            guard let folder = one.base?.folder ?? two.base?.folder else {
                let name = (one.base?.name ?? two.base?.name).map { " \($0)" } ?? ""
                throw CommandFailure(
                    .notFound, "the base\(name) is not known, or not there; name its folder with --base")
            }
            return folder
        }

        private static func file(_ path: String) throws -> URL {
            let url = CommandLineFile.url(path)
            guard FileManager.default.isReadableFile(atPath: url.path) else {
                throw CommandFailure(.notFound, "\(path): no such file, or not readable")
            }
            return url
        }

        private static func prompts(_ path: String) throws -> [String] {
            let text = String(decoding: try Data(contentsOf: file(path)), as: UTF8.self)
            let isJSON = path.hasSuffix(".jsonl") || path.hasSuffix(".json")
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            let prompts = try lines.enumerated().compactMap { number, line -> String? in
                guard !line.trimmingCharacters(in: .whitespaces).isEmpty else { return nil }
                guard isJSON else { return line }
                guard let value = try? JSONDecoder().decode(JSON.self, from: Data(line.utf8)),
                    case .string(let prompt)? = value["prompt"]
                else { throw CommandFailure(.invalidInput, "\(path):\(number + 1): expected {\"prompt\": …}") }
                return prompt
            }
            guard !prompts.isEmpty else { throw CommandFailure(.invalidInput, "\(path) holds no prompt") }
            return prompts
        }

        // MARK: What is printed

        private func text(_ comparison: AdapterComparison, _ one: String, _ two: String) throws -> String {
            var text = ""
            if let losses = comparison.losses {
                func number(_ value: Double, _ digits: Int = 4) -> String { String(format: "%.\(digits)f", value) }
                var table = Table("WHAT >\(one.replacing(" ", with: "_")) >\(two.replacing(" ", with: "_"))")
                table.add([Table.Cell("loss"), Table.Cell(number(losses.first)), Table.Cell(number(losses.second))])
                table.add([
                    Table.Cell("perplexity"), Table.Cell(number(exp(losses.first), 3)),
                    Table.Cell(number(exp(losses.second), 3)),
                ])
                table.add([
                    Table.Cell("better on"),
                    Table.Cell("\(losses.examples.count { $0.first < $0.second })"), Table.Cell("\(losses.better)"),
                ])
                text += table.text(.output)
                let verdict =
                    losses.isDecided
                    ? "\(losses.difference < 0 ? two : one) is better" : "there is no telling which is better"
                text += """
                    \(losses.examples.count) records, \(losses.tokens) tokens: the difference is \
                    \(number(losses.difference, 5)) nats per token, at \(confidence.formatted())% between \
                    \(number(losses.interval.lowerBound, 5)) and \(number(losses.interval.upperBound, 5)): \(verdict)

                    """
            }
            for answer in comparison.answers {
                text += "\nprompt: \(PrintableText.line(answer.prompt, limit: 400))\n"
                text += "  \(one): \(PrintableText.line(answer.first, limit: 2000))\n"
                text += "  \(two): \(PrintableText.line(answer.second, limit: 2000))\n"
            }
            return text
        }

        private static func json(_ comparison: AdapterComparison, _ one: String, _ two: String) -> [String: JSON] {
            var members: [String: JSON] = ["first": .string(one), "second": .string(two), "losses": .null]
            if let losses = comparison.losses {
                members["losses"] = .object([
                    "first": .number(losses.first), "second": .number(losses.second), "tokens": .integer(losses.tokens),
                    "difference": .number(losses.difference), "confidence": .number(losses.confidence),
                    "interval": .array([.number(losses.interval.lowerBound), .number(losses.interval.upperBound)]),
                    "decided": .bool(losses.isDecided),
                    "examples": .array(
                        losses.examples.map {
                            .object([
                                "first": .number($0.first), "second": .number($0.second), "tokens": .integer($0.tokens),
                            ])
                        }),
                ])
            }
            members["answers"] = .array(
                comparison.answers.map {
                    .object(["prompt": .string($0.prompt), "first": .string($0.first), "second": .string($0.second)])
                })
            return members
        }
    }
}
