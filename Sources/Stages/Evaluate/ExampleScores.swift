import Foundation
import Training

/// What each model made of each example of a set: `sets/<name>/examples.jsonl`.
struct ExampleScores {
    /// An entry an example.
    var columns: [EvaluationRole: [ExampleScore]] = [:]

    static func file(of set: String, in output: URL) -> URL {
        output.appending(path: "sets/\(set)/examples.jsonl")
    }

    init() {}

    /// Reads the file of a set below the output of an evaluate stage.
    ///
    /// - Throws: what reading and decoding throw, and ``StageError`` when a line is not of its place.
    init(of set: String, in output: URL) throws {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        let file = Self.file(of: set, in: output)
        for (index, line) in try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")).enumerated() {
            let scores = try decoder.decode(ExampleLine.self, from: Data(line))
            guard scores.index == index else {
                throw StageError("damaged_input", "\(file.path):\(index + 1) is of example \(scores.index)")
            }
            for role in EvaluationRole.allCases {
                if let score = scores[role] { columns[role, default: []].append(score) }
            }
        }
        guard Set(columns.values.map(\.count)).count <= 1 else {
            throw StageError("damaged_input", "\(file.path) does not have every model's score of every example")
        }
    }

    func write(of set: String, in output: URL) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        var lines = Data()
        for index in 0..<(columns.values.first?.count ?? 0) {
            var line = ExampleLine(index: index)
            for (role, scores) in columns { line[role] = scores[index] }
            lines += try encoder.encode(line) + Data("\n".utf8)
        }
        let file = Self.file(of: set, in: output)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try lines.write(to: file, options: .atomic)
    }
}

/// The scores of an earlier evaluation, found by model and set: the same model on the same set is not asked again.
struct EarlierScores {
    private let output: URL?
    private let report: EvaluationReport?

    /// - Parameter output: that of an earlier stage of this kind, `nil` when there is none. What cannot be read is no use.
    init(_ output: URL?, conditions: String) {
        let data = output.flatMap { try? Data(contentsOf: $0.appending(path: EvaluationReport.fileName)) }
        let report = data.flatMap { try? JSONDecoder().decode(EvaluationReport.self, from: $0) }
        (self.output, self.report) = report?.conditions == conditions ? (output, report) : (nil, nil)
    }

    func scores(of model: String, on set: EvaluationSet) -> [ExampleScore]? {
        guard let output, let own = report?.sets.first(where: { $0.digest == set.digest }),
            let role = own.models.first(where: { $0.value == model })?.key,
            let scores = (try? ExampleScores(of: own.name, in: output))?.columns[role],
            scores.count == set.examples.count
        else { return nil }
        return scores
    }
}
