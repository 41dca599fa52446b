import Adapters
import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import Training

/// Folds the adapter into the base and proves that the result computes what the adapter computes.
///
/// Output: `model/`, a Hugging Face checkpoint, and `merge.json` with the proof. The merged files are read back and their logits
/// on held-out sequences compared with the adapter's; a difference beyond the dtype's own rounding is a failure, and nothing is
/// published.
enum MergeStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "merge", version: 1, manifestKeys: ["merge"], inputs: [.base, .tokenizer],
        requires: ["tokenize", "train"])

    /// What `merge.json` says.
    struct Report: Codable, Equatable {
        var dtype: String
        var sequences: Int
        /// Largest absolute difference of a logit between the merged files and the adapter.
        var largestDifference: Double
        /// What was allowed.
        var tolerance: Double
    }

    /// Sequences of held-out input the proof is made on.
    private static let proofSequences = 8
    /// Tokens of each that are compared.
    private static let proofTokens = 128

    static func run(_ run: StageRun) throws {
        guard case .adapter(let adapterFolder) = try TrainedProduct(run.input("train")) else {
            throw StageError("nothing_to_merge", "merge needs an adapter; method full trains the checkpoint itself")
        }
        let dtype = dtype(of: run.manifest.merge?.dtype ?? .fp32)
        let task = try run.task()
        let proof = try heldOut(run, for: task.model)
        run.report(0.1, "merging into \(dtype)")
        let folder = run.output.appending(path: TrainedProduct.checkpointFolder, directoryHint: .isDirectory)
        let expected = try merge(adapterFolder, as: dtype, into: folder, proof, task, run)
        if run.isStopRequested { throw StageError.stopped }

        run.report(0.6, "comparing the merged files with the adapter")
        let merged = try AdaptedModel(base: folder, for: task.model).outputs(proof)
        let report = Report(
            dtype: "\(dtype)", sequences: proof.sequences.count,
            largestDifference: Double(merged.largestDifference(from: expected)),
            tolerance: tolerance(dtype, scale: expected.largestMagnitude))
        guard report.largestDifference <= report.tolerance else {
            throw StageError(
                "merge_differs",
                "the merged checkpoint's logits differ from the adapter's by \(report.largestDifference) on held-out input, more "
                    + "than \(report.tolerance); it is not published")
        }
        try run.write(report, to: "merge.json")
        run.metrics["merge_difference"] = report.largestDifference
        run.report(1, "merged; logits differ by at most \(report.largestDifference)")
    }

    /// Writes the merged checkpoint and returns the adapter's logits. Base and adapter are gone when it returns: they need
    /// not be in memory beside the merged model.
    private static func merge(
        _ adapterFolder: URL, as dtype: DType, into folder: URL, _ proof: TokenBatch, _ task: JobTask, _ run: StageRun
    ) throws -> Tensor {
        let loaded = try AdaptedModel(base: run.base, adapter: adapterFolder, for: task.model)
        guard let adapter = loaded.adapter else { throw StageError("nothing_to_merge", "there is no adapter to merge") }
        for parameter in loaded.model.parameters where !adapter.mergedValues(of: parameter).isFinite {
            throw StageError(
                "non_finite_merge", "the merged weight \(parameter.name) has a value that is not finite")
        }
        let untied = adapter.untiedHead.map { head in
            (name: "\(head.path).weight", values: { adapter.mergedWeight(of: head) })
        }
        try CheckpointWriter.write(
            loaded.model, to: folder, base: run.base, dtype: dtype, untiedHead: untied, classes: task.classes
        ) {
            adapter.mergedValues(of: $0)
        }
        return loaded.outputs(proof)
    }

    /// Held-out sequences: the test split, else validation.
    private static func heldOut(_ run: StageRun, for task: ModelTask) throws -> TokenBatch {
        for split in [SplitName.test, .validation] {
            let data = try TokenDataset(run.input("tokenize").appending(path: split.tokensFile))
            if data.count > 0 {
                let count = min(data.count, proofSequences)
                // A text that is judged as a whole is proved as a whole.
                guard task == .causalLM else { return TokenBatch(data, 0..<count, for: task) }
                return withExtendedLifetime(data) {
                    TokenBatch((0..<count).map { Array(data[$0].ids.prefix(proofTokens)) })
                }
            }
        }
        throw StageError("no_test_data", "a merge is proved on held-out input, but test and validation are empty")
    }

    private static func dtype(of merge: JobManifest.MergeDType) -> DType {
        switch merge {
        case .fp32: .float32
        case .bf16: .bfloat16
        case .fp16: .float16
        }
    }

    /// What rounding may cost: a few ulps of F32 through the layers, or the storage type's own half step on every weight.
    private static func tolerance(_ dtype: DType, scale: Float) -> Double {
        let scale = Double(max(scale, 1))
        return switch dtype {
        case .bfloat16: 0x1p-5 * scale
        case .float16: 0x1p-8 * scale
        default: 1e-4 * scale
        }
    }
}
