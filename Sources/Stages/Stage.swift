package import PipelineSpec

/// One kind of pipeline stage.
///
/// A stage is one file: its ``descriptor`` says what it reads and which manifest keys change its result, ``run(_:)`` does the
/// work inside a child process. It is listed in ``StageRegistry`` and nowhere else.
package protocol Stage: SendableMetatype {
    /// What the control half knows of it.
    static var descriptor: StageDescriptor { get }

    /// Reads the request, writes the product under `run.output`.
    ///
    /// - Throws: ``StageError`` or an error of the floors below; ``StageProcess`` turns it into a failure and an exit code.
    static func run(_ run: StageRun) throws
}

/// Every kind of stage, by the word after `uses:`.
package enum StageRegistry {
    /// One line a stage.
    static let stages: [any Stage.Type] = [
        TokenizeStage.self,
        TrainStage.self,
        EvaluateStage.self,
        ScoreStage.self,
        MergeStage.self,
        PackageStage.self,
    ]

    /// What the control half is given.
    package static let descriptors: [String: StageDescriptor] = Dictionary(
        uniqueKeysWithValues: stages.map { ($0.descriptor.kind, $0.descriptor) })

    static func stage(_ kind: String) throws -> any Stage.Type {
        guard let stage = stages.first(where: { $0.descriptor.kind == kind }) else {
            let known = descriptors.keys.sorted().joined(separator: ", ")
            throw StageError("unknown_stage", "there is no stage \"\(kind)\"; known: \(known)")
        }
        return stage
    }
}

/// Raised when the numbers an engine build produces change for equal inputs; part of every cache key and lineage.
package enum Numerics {
    package static let version = 6
}
