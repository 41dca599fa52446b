import Adapters
import Foundation
import Layers
import Models
package import PipelineSpec
import TensorCore
import Training

/// How much memory training will take at its peak, from `config.json` and the manifest alone.
///
/// Every term follows what the engine keeps: the comment beside each names the type that keeps it. Bytes throughout.
package struct MemoryEstimate: Codable, Sendable, Equatable {
    /// Weights of the base: as mapped, or converted to F32 or BF16. Matrices of BF16 stay so, unless they are trained.
    package var weights: Int64 = 0
    /// What reading a checkpoint in another type than that takes besides: its mapped files, until all is converted.
    package var conversion: Int64 = 0
    /// Trained parameters with gradient, two moments, and the best values so far.
    package var trained: Int64 = 0
    /// What the forward pass keeps for the backward pass.
    package var activations: Int64 = 0
    /// Logits of a chunk, gradients on their way, scratch of attention.
    package var transient: Int64 = 0
    /// The program itself, with the buffers of the product kernels.
    package var process: Int64 = 0
    /// Whether ``activations`` are those of a backward pass that computes each layer again.
    package var recomputesLayers = false
    /// How many parameters the base has, and how many are trained.
    package var parameters = 0
    package var trainedParameters = 0
    /// Tokens computed at once, and of the longest sequence.
    package var microBatchTokens = 0
    package var longestSequence = 0

    /// The most that is resident at once: while the base is read, or in a step.
    package var peak: Int64 {
        process + weights + max(conversion, trained + activations + transient)
    }

    /// Estimates the training of a manifest whose data are not known: it takes the most there may be.
    ///
    /// - Throws: ``ModelError`` or ``AdapterError`` for a base or an adapter that cannot be.
    package init(of manifest: JobManifest) throws {
        try self.init(of: manifest, nil, microBatches: nil, longestSequence: nil)
    }

    /// The same where more is known.
    ///
    /// - Parameters:
    ///   - task: what is learned; otherwise what manifest and base say of it.
    ///   - microBatches: tokens computed at once in each micro-batch.
    ///   - longestSequence: tokens of the longest sequence.
    init(of manifest: JobManifest, _ task: JobTask?, microBatches: Set<Int>?, longestSequence: Int?) throws {
        let folder = URL(filePath: manifest.base.path, directoryHint: .isDirectory)
        let configuration = try ModelConfiguration(folder: folder)
        let limits = try ModelRegistry.limits(configuration)
        let task = try task ?? Self.task(manifest, configuration, limits)
        let longest = longestSequence ?? TrainingSizes.longestSequence(manifest, limits)
        // Of a pair of texts both may be long.
        let sizes = TrainingSizes(manifest, task, longest: task.kind == .embedding ? 2 * longest : longest)
        let outline = try ModelRegistry.outline(configuration, for: task.model)
        var stored: DType?
        if case .folder = manifest.base { stored = Self.storedType(in: folder) }
        func estimate(recomputesLayers: Bool) throws -> MemoryEstimate {
            var estimate = try MemoryEstimate(
                outline, manifest, microBatches: microBatches ?? [sizes.largestMicroBatch], longest: longest,
                recomputesLayers: recomputesLayers, stored: stored)
            if let stored, stored != (Self.isHalf(manifest, stored) ? .bfloat16 : .float32) {
                let mapped = Self.mappedBytes(in: folder)
                // Norms and biases go on lying in a file of F32, which then stays mapped.
                if manifest.trainingPrecision.matrixType == .bfloat16 {
                    estimate.weights += mapped
                } else {
                    estimate.conversion = mapped
                }
            }
            return estimate
        }
        let budget = Int64(manifest.run.memoryBytes ?? Int(ProcessInfo.processInfo.physicalMemory / 10 * 9))
        switch manifest.train.gradientCheckpointing {
        case .on: self = try estimate(recomputesLayers: true)
        case .off: self = try estimate(recomputesLayers: false)
        case .auto:
            let whole = try estimate(recomputesLayers: false)
            self = whole.peak <= budget ? whole : try estimate(recomputesLayers: true)
        }
    }

    /// What a job learns, as far as it can be said without its data.
    private static func task(
        _ manifest: JobManifest, _ configuration: ModelConfiguration, _ limits: ModelLimits
    ) throws -> JobTask {
        var isNew = false
        if case .random = manifest.base { isNew = true }
        let format = manifest.data.format
        let kind = try JobTask.kind(manifest.task, configuration, isNew: isNew) { format == .auto ? nil : format }
        let names = manifest.data.labels.isEmpty ? try configuration.labels() : manifest.data.labels
        return JobTask(kind: kind, classes: names, images: limits.images)
    }

    /// - Parameters:
    ///   - model: its shapes; see ``ModelRegistry/outline(_:for:)``.
    ///   - stored: the type of the matrices in the base's files, if it has any.
    init(
        _ model: any SequenceModel, _ manifest: JobManifest, microBatches: Set<Int>, longest: Int,
        recomputesLayers: Bool = false, stored: DType? = nil
    ) throws {
        let tokens = microBatches.max() ?? 1
        let shape = ModelShape(model)
        parameters = model.parameters.reduce(0) { $0 + $1.tensor.count }
        // Norms, biases and what is trained are F32.
        let isHalf = Self.isHalf(manifest, stored)
        weights = model.parameters.reduce(0) { sum, parameter in
            sum + Int64(parameter.tensor.count) * (isHalf && parameter.tensor.shape.count > 1 ? 2 : 4)
        }
        (microBatchTokens, longestSequence) = (tokens, longest)

        let adapter = manifest.adapter
        var adapted: Set<String> = []
        var largestRank = 0
        if adapter.method == .full {
            adapted = Set(model.projections.map(\.path))
            trainedParameters = parameters
        } else {
            let saved = model.task.modulesToSave + model.newModules + adapter.modulesToSave
            let match = try TargetModules(manifest: adapter.targets).match(
                in: model, saving: saved, dialect: NameDialect(adapter.names))
            let method = try LoRA(AdapterOptions(manifest: adapter))
            func rank(_ path: String, _ former: String? = nil) throws -> Int {
                try method.rank(of: path, former: former)
            }
            adapted = Set((match.projections + match.stacks.flatMap(\.projections)).map(\.path))
            largestRank = ([adapter.rank] + adapter.rankPattern.values).max() ?? adapter.rank
            trainedParameters = try match.projections.reduce(0) {
                try $0 + rank($1.path, $1.formerPath) * ($1.inputSize + $1.outputSize)
            }
            trainedParameters += try match.stacks.reduce(0) {
                try $0 + rank($1.path) * $1.count * ($1.inputSize + $1.outputSize)
            }
            trainedParameters += try match.embeddings.reduce(0) {
                try $0 + rank($1.path) * $1.weight.tensor.shape.reduce(0, +)
            }
            // A head for classes is trained whole beside the adapter, and what the manifest names.
            trainedParameters += try SavedModule.parameterCount(saved, in: model)
            guard try adapter.modulesToSave.isEmpty || SavedModule.parameterCount(adapter.modulesToSave, in: model) > 0
            else {
                throw AdapterError(
                    .noMatchingModule,
                    "modules_to_save [\(adapter.modulesToSave.joined(separator: ", "))] names no module of the model")
            }
        }
        let keepsBest = manifest.data.validation != .fraction(0)
        // Trainer and AdamW: value, gradient, two moments, best values. All weights of a base are trained in a copy.
        trained = 4 * Int64(trainedParameters) * (keepsBest ? 5 : 4)
        let layers = shape.layers(
            adapted: adapted, rank: largestRank, dropout: adapter.method != .full && adapter.dropout > 0)
        func bytes(_ columns: Int, _ size: Int64 = 4) -> Int64 {
            // BufferPool keeps little more than what the largest micro-batch has in use at once.
            size * Int64(tokens) * Int64(columns)
        }
        // Kept: what products round anyway.
        let size: Int64 = manifest.trainingPrecision.matrixType == .bfloat16 ? 2 : 4
        let kept = layers.map { layer in
            layer.kept.reduce(0) { $0 + bytes($1) } + layer.rounded.reduce(0) { $0 + bytes($1, size) }
        }
        // A mixture's routers are part of a loss of their own.
        self.recomputesLayers = recomputesLayers && (model as? any LanguageModel)?.balanceLossWeight == nil
        // RecomputedOp: the inputs of layers, and what one of them keeps.
        activations =
            self.recomputesLayers ? bytes(shape.width) * Int64(kept.count) + (kept.max() ?? 0) : kept.reduce(0, +)
        // The input of the last norm.
        activations += bytes(shape.width, size)

        transient = (layers.last?.passing ?? []).reduce(0) { $0 + bytes($1) } + bytes(shape.width)
        transient += logits(model, tokens, shape.width)
        // The gradient of a trained head, beside the one it is added to.
        if adapter.method == .full { transient += 4 * Int64(shape.headCount) }
        // BufferPool: where sizes differ from step to step, an eighth more than was ever in use at once is kept. Weights that
        // are used where files are mapped are no buffers.
        if Self.differ(microBatches, width: shape.width) {
            let copied = stored == (isHalf ? .bfloat16 : .float32) ? 0 : weights
            transient += (copied + trained + activations + transient) / 8
        }
        // Gemm: the stretch of a matrix of BF16 that is widened for products in single precision.
        if isHalf, manifest.trainingPrecision.matrixType == .float32 { transient += 6 << 20 }
        // AttentionOp: two pieces a thread.
        transient += Int64(manifest.run.threads) * 2 * 256 * 4 * Int64(min(longest, 256))
        process = Self.program + Int64(manifest.run.threads) * Self.perThread
    }

    /// Whether micro-batches differ so much in size that buffers of one cannot serve another. Two classes of size are those
    /// of full ones and of the last.
    private static func differ(_ tokens: Set<Int>, width: Int) -> Bool {
        Set(tokens.map { BufferPool.sizeClass(4 * $0 * width) }).count > 2
    }

    /// What the head and its loss take.
    private func logits(_ model: any SequenceModel, _ tokens: Int, _ width: Int) -> Int64 {
        switch model.task {
        case .causalLM:
            // CrossEntropyOp: logits of a chunk, and its hidden states.
            let chunk = Int64(Tensor.crossEntropyChunk(tokens, vocabulary: model.vocabularySize))
            return 4 * chunk * Int64(model.vocabularySize) + 4 * chunk * Int64(width)
        case .maskedLM:
            // Of the tokens that are hidden: logits, and their gradient.
            let rows = Int64((Double(tokens) * TokenHiding.share).rounded(.up))
            return 8 * rows * Int64(model.vocabularySize) + 16 * rows * Int64(width)
        case .tokenClassification(let labels): return 8 * Int64(tokens) * Int64(labels)
        // A row a sequence.
        case .sequenceClassification, .sequenceRegression, .imageClassification, .featureExtraction: return 0
        }
    }

    /// The smallest of some changes after which the peak is at most `limit`, in words: layers computed again, then
    /// sequences one at a time, then shorter ones.
    static func changeThatFits(_ limit: Int64, in manifest: JobManifest) throws -> String {
        func text(_ bytes: Int64) -> String { "\(max(1, (bytes + (1 << 20) - 1) >> 20))MiB" }
        var changed = manifest
        if manifest.train.gradientCheckpointing != .on {
            changed.train.gradientCheckpointing = .on
            let least = try MemoryEstimate(of: changed)
            if least.peak <= limit {
                return "with train: {gradient_checkpointing: true} it would take \(text(least.peak))"
            }
        }
        changed.train.microBatch = 1
        let whole = try MemoryEstimate(of: changed)
        var length = whole.longestSequence
        var least = whole.peak
        while least > limit, length >= 32 {
            // Lengths of powers of two are what people write.
            length = length & (length - 1) == 0 ? length / 2 : 1 << (Int.bitWidth - 1 - length.leadingZeroBitCount)
            changed.data.maxLength = length
            least = try MemoryEstimate(of: changed).peak
        }
        guard least <= limit else {
            return "even sequences of \(length) tokens, one at a time, would take \(text(least)), of which the base "
                + "takes \(text(whole.weights + whole.conversion)) and what is trained \(text(whole.trained)); take a "
                + "smaller base, fewer adapter.targets or a lower adapter.rank"
        }
        let shorter = changed.data.maxLength == manifest.data.maxLength ? "" : " and data: {max_length: \(length)}"
        return "with train: {micro_batch: 1, gradient_checkpointing: true}\(shorter) it would take \(text(least))"
    }

    /// Resident before anything is loaded: the program, its libraries, and what Foundation keeps. Measured on Linux,
    /// x86-64.
    private static let program: Int64 = 22 << 20
    /// Packed operands of a thread's matrix products in OpenBLAS.
    private static let perThread: Int64 = 9 << 20

    /// Whether matrices are BF16 in memory: to be multiplied as such, or because files hold them so and they are not trained.
    private static func isHalf(_ manifest: JobManifest, _ stored: DType?) -> Bool {
        manifest.trainingPrecision.matrixType == .bfloat16 || stored == .bfloat16 && manifest.adapter.method != .full
    }

    /// The type of the largest tensor of a checkpoint; `nil` where nothing can be read, which training will say.
    private static func storedType(in folder: URL) -> DType? {
        guard let files = try? CheckpointFiles(folder) else { return nil }
        let entries = files.names.compactMap { try? files.entry($0) }
        return entries.max { $0.shape.reduce(1, *) < $1.shape.reduce(1, *) }?.dtype
    }

    /// The size of a checkpoint's files.
    private static func mappedBytes(in folder: URL) -> Int64 {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".safetensors") }.reduce(Int64(0)) { sum, name in
            // Files of a download cache are links.
            let file = folder.appending(path: name).resolvingSymlinksInPath()
            let size = try? FileManager.default.attributesOfItem(atPath: file.path)[.size] as? Int64
            return sum + (size ?? 0)
        }
    }
}
