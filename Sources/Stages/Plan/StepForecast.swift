import PipelineSpec
import Training

/// The steps that a manifest makes of a tokenised training split.
struct StepForecast {
    let steps: Int
    let stepsPerEpoch: Int
    /// Tokens of all steps together.
    let trainedTokens: Int
    /// The sizes of the micro-batches, in tokens.
    let microBatches: Set<Int>
    /// How full micro-batches are, and with packing packs, of the tokens that they might hold.
    let fill: Double

    /// - Parameters:
    ///   - task: what is learned.
    ///   - scale: how many times larger the data are than what was tokenised of them.
    /// - Throws: ``TrainingError`` when there is nothing to learn.
    init(
        _ training: TokenDataset, _ manifest: JobManifest, _ task: JobTask = .writing, scale: Double = 1
    ) throws {
        let sizes = TrainingSizes(manifest, task, longest: training.longest)
        let limit = sizes.microBatchTokens
        let options = sizes.options()
        let plan = try BatchPlan(
            training, duration: options.duration, stepSize: options.stepSize, microBatchSize: options.microBatchSize,
            packing: options.packing, seed: options.seed)
        var (parts, tokens) = (0, 0)
        var found: Set<Int> = []
        let epoch = plan.steps(inEpoch: 0)
        for step in epoch {
            for part in plan.microBatches(of: step) {
                let size = sizes.rows(part.reduce(0) { $0 + training.length($1) })
                (parts, tokens) = (parts + 1, tokens + size)
                found.insert(size)
            }
        }
        microBatches = found
        fill = Double(tokens) / Double(max(parts, 1) * min(limit, options.packing ?? limit))
        // Of a run of steps the first epoch is only as long as the run.
        let isWhole = epoch.last?.endsEpoch ?? false
        let scaled = (Double(epoch.count) * scale).rounded()
        switch options.duration {
        case .steps(let count):
            steps = count
            stepsPerEpoch = isWhole ? Int(scaled) : count
        case .epochs:
            steps = Int((Double(plan.stepCount) * scale).rounded())
            stepsPerEpoch = Int(scaled)
        }
        trainedTokens = steps * tokens / max(epoch.count, 1)
    }
}
