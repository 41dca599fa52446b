import TensorCore

/// What makes a run this run: two runs with equal fingerprints compute the same.
enum TrainingFingerprint {
    /// The key of the size that may be made smaller on the way.
    static let microBatch = "micro_batch"

    /// - Parameter identity: what the caller knows and this module does not, such as the digest of the base.
    static func of(
        _ options: TrainingOptions, parameters: [Parameter], training: TokenDataset, validation: TokenDataset?,
        identity: [String: String]
    ) -> [String: String] {
        let shapes = parameters.map { "\($0.name) \($0.tensor.shape)" }.joined(separator: "\n")
        var result: [String: String] = [:]
        result["duration"] = "\(options.duration)"
        result["step_size"] = "\(options.stepSize)"
        if let packing = options.packing { result["packing"] = "\(packing)" }
        result[microBatch] = "\(options.microBatchSize)"
        result["learning_rate"] = "\(options.learningRate)"
        result["lr_schedule"] = options.schedule.rawValue
        result["warmup"] = "\(options.warmup)"
        result["betas"] = "\(options.optimizer.beta1), \(options.optimizer.beta2)"
        result["epsilon"] = "\(options.optimizer.epsilon)"
        result["weight_decay"] = "\(options.optimizer.weightDecay)"
        result["clip_norm"] = options.clipNorm.map { "\($0)" } ?? "none"
        result["seed"] = "\(options.seed)"
        result["validation_interval"] = options.validationInterval.map { "\($0) steps" } ?? "epoch"
        result["patience"] = options.patience.map { "\($0)" } ?? "none"
        result["parameters"] = "\(parameters.count) tensors, checksum \(Checksum.of(shapes).hexadecimal)"
        result["training_data"] = training.identity
        result["validation_data"] = validation?.identity ?? "none"
        for (key, value) in identity { result["identity.\(key)"] = value }
        return result
    }
}
