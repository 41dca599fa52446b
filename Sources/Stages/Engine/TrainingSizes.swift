import Models
import PipelineSpec
import Training

/// How much of a job's data makes a step, and how much is computed at once.
///
/// The manifest counts in tokens, which of an image are its patches, with the class token. A dataset counts an image's bytes;
/// ``rows(_:)`` leads from there to what the manifest means.
struct TrainingSizes {
    private let train: JobManifest.Train
    private let isPacked: Bool
    private let task: JobTask
    /// Tokens of the longest sequence; of a pair, those of both texts.
    let longest: Int

    /// - Parameter longest: of the dataset's longest sequence, what the dataset counts.
    init(_ manifest: JobManifest, _ task: JobTask, longest: Int) {
        train = manifest.train
        isPacked = manifest.data.packing && task.images == nil && task.kind != .embedding
        self.task = task
        self.longest = task.images?.rowCount ?? longest
    }

    /// Tokens in one forward pass unless the manifest says otherwise: beyond this, larger products are no faster. The same
    /// on every machine, because results depend on it.
    private static let automaticMicroBatchTokens = 2048

    /// What so many of the dataset's tokens are to the model.
    func rows(_ tokens: Int) -> Int { task.images.map { tokens / $0.byteCount * $0.rowCount } ?? tokens }

    /// The tokens of the dataset that are about as much as `rows` to the model, and at least one sequence of images.
    func datasetTokens(_ rows: Int) -> Int {
        task.images.map { max(1, rows / $0.rowCount) * $0.byteCount } ?? rows
    }

    /// What one optimizer step sees.
    var stepSize: BatchPlan.StepSize {
        if let size = train.batchSize { return .sequences(size) }
        return task.images.map { .sequences(max(1, train.batchTokens / $0.rowCount)) } ?? .tokens(train.batchTokens)
    }

    /// The limit for the tokens in one forward pass.
    ///
    /// Pairs of texts are told from all others of their pass, so there a step is one.
    var microBatchTokens: Int {
        if let count = train.microBatch { return count * longest }
        let step = train.batchSize.map { $0 * longest } ?? train.batchTokens + longest
        return task.kind == .embedding
            ? max(step, Self.automaticMicroBatchTokens)
            : max(Self.automaticMicroBatchTokens, task.images == nil ? 0 : longest)
    }

    /// What is computed at once.
    ///
    /// - Parameter halvings: how often memory ran out.
    func microBatch(halvings: Int = 0) -> BatchPlan.MicroBatchSize {
        task.images == nil
            ? .tokens(max(1, microBatchTokens >> halvings))
            : .sequences(max(1, (microBatchTokens / longest) >> halvings))
    }

    /// Tokens of a pack: as many packs as it takes make a step, and each is a micro-batch; `nil` without packing. It does
    /// not depend on how often memory has run out, so neither does the order of the data.
    var packTokens: Int? {
        guard isPacked else { return nil }
        guard train.batchSize == nil else { return microBatchTokens }
        let packs = (train.batchTokens + microBatchTokens - 1) / microBatchTokens
        return (train.batchTokens + packs - 1) / packs
    }

    /// The most tokens in one forward pass, when memory has not run out.
    var largestMicroBatch: Int {
        // A step is no larger than its last sequence or pack makes it.
        let last = packTokens.map { max($0, longest) / 2 } ?? longest - 1
        let step = train.batchSize.map { $0 * longest } ?? train.batchTokens + last
        let wanted = task.images == nil ? microBatchTokens : microBatchTokens / longest * longest
        return min(max(longest, wanted), max(longest, step))
    }

    /// The manifest's section `train` in the trainer's terms.
    func options(halvings: Int = 0) -> TrainingOptions {
        var options = TrainingOptions(train)
        options.stepSize = stepSize
        options.microBatchSize = microBatch(halvings: halvings)
        options.packing = packTokens
        // What was trained before memory ran out counts.
        options.earlierMicroBatchSizes = (0..<halvings).map { microBatch(halvings: $0) }
        return options
    }

    /// Tokens of the longest sequence that a manifest and its base allow, as the model counts; of a pair, of each text.
    static func longestSequence(_ manifest: JobManifest, _ limits: ModelLimits) -> Int {
        limits.images?.rowCount ?? min(manifest.data.maxLength ?? limits.contextLength, limits.contextLength)
    }
}
