import Adapters
import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

/// Sequences of one golden file, without their padding.
struct GoldenInput {
    let sequences: [[Int32]]
    /// For each row of the file's `[B·T]`, whether it is a token.
    let isToken: [Bool]
    let batch: TokenBatch
    /// Whether the file has one output row a sequence.
    private let judgesSequences: Bool

    /// Reads `in.input_ids`, `in.attention_mask` and, if there, `in.token_type_ids` and `in.labels`, which transformers
    /// shifts by one by itself for a decoder.
    init(_ file: SafetensorsFile, for task: ModelTask) throws {
        let shape = try file.entry("in.input_ids").shape
        let ids = try Self.integers(file, "in.input_ids")
        let mask = try Self.integers(file, "in.attention_mask")
        let types = file.contains("in.token_type_ids") ? try Self.integers(file, "in.token_type_ids") : nil
        let labels = file.contains("in.labels") ? try Self.integers(file, "in.labels") : nil
        isToken = mask.map { $0 == 1 }
        let rows = (0..<shape[0]).map { row in (row * shape[1]..<(row + 1) * shape[1]).filter { mask[$0] == 1 } }
        func picked(_ values: [Int]) -> [[Int32]] { rows.map { $0.map { Int32(values[$0]) } } }
        sequences = picked(ids)
        switch task {
        case .sequenceClassification, .imageClassification, .featureExtraction:
            judgesSequences = true
            let none = [Int](repeating: -1, count: shape[0])
            batch = TokenBatch(sequences, labels: (labels ?? none).map { Int32($0) }, tokenTypes: types.map(picked))
        case .sequenceRegression:
            judgesSequences = true
            var batch = TokenBatch(
                sequences, labels: sequences.indices.map { Int32($0) }, tokenTypes: types.map(picked))
            batch.values = try file.floats(of: "in.values")
            self.batch = batch
        case .tokenClassification, .maskedLM:
            judgesSequences = false
            var batch = TokenBatch(sequences)
            batch.targets = labels.map { picked($0).flatMap { $0 } } ?? batch.targets.map { _ in 1 }
            self.batch = batch
        case .causalLM:
            judgesSequences = false
            let labels = labels ?? ids
            batch = TokenBatch(sequences, scored: rows.map { $0.map { labels[$0] != -100 } })
            #expect(rows.allSatisfy { $0.allSatisfy { labels[$0] == -100 || labels[$0] == ids[$0] } })
        }
    }

    private static func integers(_ file: SafetensorsFile, _ name: String) throws -> [Int] {
        let bytes = try file.bytes(of: name)
        return (0..<bytes.count / 8).map { Int(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
    }

    /// The rows of a reference that can be compared: those of tokens, or of sequences.
    func rows(of name: String, in file: SafetensorsFile) throws -> [Float] {
        let values = try file.floats(of: name)
        guard !judgesSequences else { return values }
        let width = values.count / isToken.count
        return isToken.indices.filter { isToken[$0] }.flatMap { values[$0 * width..<($0 + 1) * width] }
    }
}

/// What the model says of a batch, without recording.
func logits(_ model: any SequenceModel, _ batch: TokenBatch) -> [Float] {
    Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()).values }
}

func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
    #expect(a.count == b.count)
    // A NaN must not hide behind a comparison that is false.
    return zip(a, b).reduce(0) {
        let d = abs($1.0 - $1.1); return d <= $0 ? $0 : d
    }
}

/// AdamW as PyTorch has it (Loshchilov and Hutter 2019): decay on the weight, both moments corrected, eps outside the
/// root.
final class ReferenceAdamW {
    private let parameters: [Parameter]
    private let learningRate: Float, decay: Float
    private var moments: [[Float]], squares: [[Float]]
    private var step = 0

    init(_ parameters: [Parameter], learningRate: Float, decay: Float) {
        self.parameters = parameters
        self.learningRate = learningRate
        self.decay = decay
        moments = parameters.map { [Float](repeating: 0, count: $0.tensor.count) }
        squares = moments
    }

    func update() {
        step += 1
        let (b1, b2) = (Float(0.9), Float(0.999))
        let (c1, c2) = (1 - Float(pow(0.9, Double(step))), 1 - Float(pow(0.999, Double(step))))
        for (index, parameter) in parameters.enumerated() {
            guard let gradient = parameter.gradient?.values else { continue }
            for (i, g) in gradient.enumerated() {
                moments[index][i] = b1 * moments[index][i] + (1 - b1) * g
                squares[index][i] = b2 * squares[index][i] + (1 - b2) * g * g
                let value = parameter.tensor.pointer + i
                value.pointee *= 1 - learningRate * decay
                value.pointee -=
                    learningRate * (moments[index][i] / c1) / ((squares[index][i] / c2).squareRoot() + 1e-8)
            }
            parameter.zeroGradient()
        }
    }
}

extension TargetModules {
    /// Targets whose combination is known to be allowed.
    static func list(_ names: [String]) throws -> TargetModules { try TargetModules(.names(.list(names))) }
}
