package import Foundation
package import PipelineSpec

/// One stage of a job as the pipeline file gives it, fixed when the job is accepted: a later edit of the pipeline
/// does not change a job that waits.
package struct StagePlan: Codable, Sendable, Equatable {
    /// Its name in the pipeline, unique in it.
    package var name: String
    /// What it runs: a ``StageDescriptor/kind``.
    package var kind: String
    /// Names of the stages that come first.
    package var needs: [String]
    /// The manifest key that must be neither absent nor false, such as `merge`; else the stage is skipped.
    package var condition: String?
    /// After this long the process is stopped and the stage has failed.
    package var timeoutSeconds: Double
    /// How many more times a crash is tried again.
    package var retries: Int

    package init(
        name: String, kind: String, needs: [String] = [], condition: String? = nil, timeoutSeconds: Double, retries: Int
    ) {
        self.name = name
        self.kind = kind
        self.needs = needs
        self.condition = condition
        self.timeoutSeconds = timeoutSeconds
        self.retries = retries
    }
}

/// What a training computes, counted before it begins.
package struct CountedWork: Sendable, Equatable {
    /// Floating-point operations of all of it.
    package var operations: Double
    /// Of one token.
    package var operationsPerToken: Double
    /// Bits of the number format of the large matrices.
    package var precisionBits: Int

    package init(operations: Double, operationsPerToken: Double, precisionBits: Int) {
        self.operations = operations
        self.operationsPerToken = operationsPerToken
        self.precisionBits = precisionBits
    }
}

/// A valid manifest with its pipeline: what becomes a job.
package struct Submission: Sendable {
    package var manifest: JobManifest
    /// In an order in which each stage comes after those it needs.
    package var stages: [StagePlan]
    /// Where each value came from: JSON of an ``Origin`` by dotted key.
    package var origins: Data
    /// The estimate of the most memory its stages use, in bytes; `nil` when nobody knows.
    ///
    /// `run.memory` wins, and so does what equal jobs were measured to use.
    package var memoryBytes: Int64?
    /// What its training computes; `nil` when nobody knows before its data are read.
    package var work: CountedWork?
    /// The trials that are made of it in place of one job.
    package var sweep: SweepPlan?

    package init(
        manifest: JobManifest, stages: [StagePlan], origins: Data = Data("{}".utf8), memoryBytes: Int64? = nil
    ) {
        self.manifest = manifest
        self.stages = stages
        self.origins = origins
        self.memoryBytes = memoryBytes
    }
}

extension Submission {
    /// What a resolved manifest asks for.
    package init(_ resolved: ResolvedManifest, memoryBytes: Int64? = nil, work: CountedWork? = nil) throws {
        self.init(
            manifest: resolved.manifest,
            stages: resolved.pipeline.topologicalOrder.map { stage in
                StagePlan(
                    name: stage.name, kind: stage.uses, needs: stage.needs, condition: stage.when,
                    timeoutSeconds: resolved.timeoutSeconds(of: stage), retries: resolved.retries(of: stage))
            },
            origins: try ProtocolJSON.encode(resolved.origins), memoryBytes: memoryBytes)
        self.work = work
        guard let sweep = resolved.sweep else { return }
        let scoring = sweep.scoring.map { stage in
            StagePlan(
                name: stage.name, kind: stage.uses, needs: stage.needs,
                timeoutSeconds: resolved.timeoutSeconds(of: stage),
                retries: resolved.retries(of: stage))
        }
        self.sweep = SweepPlan(
            keys: sweep.keys,
            trials: try sweep.trials.map {
                SweepPlan.Trial(
                    manifest: $0.manifest, origins: try ProtocolJSON.encode($0.origins), memoryBytes: memoryBytes)
            }, stages: stages.filter { sweep.stages.contains($0.name) } + (scoring.map { [$0] } ?? []),
            trainsWinner: sweep.trainsWinner, metric: sweep.metric)
    }
}

/// A file taken from the inbox: the bytes that were read once, are validated, and are stored.
package struct ClaimedFile: Sendable {
    /// A ULID, minted before the file was claimed; the id of the job it becomes.
    package var claimID: String
    package var tenant: String
    /// The name it was dropped under.
    package var originalName: String
    package var bytes: Data
    /// `sha256:` and 64 digits over ``bytes``.
    package var digest: String
    /// What the file system said its size was, which for a refused file is more than was read.
    package var size: Int64
    package var ownerID: UInt32

    package init(
        claimID: String, tenant: String, originalName: String, bytes: Data, digest: String, size: Int64, ownerID: UInt32
    ) {
        self.claimID = claimID
        self.tenant = tenant
        self.originalName = originalName
        self.bytes = bytes
        self.digest = digest
        self.size = size
        self.ownerID = ownerID
    }
}

/// A claimed file and what its bytes are: a job, or what is wrong with them.
package struct JudgedFile: Sendable {
    package var file: ClaimedFile
    package var judgement: Result<Submission, InvalidFile>

    package init(_ file: ClaimedFile, _ judgement: Result<Submission, InvalidFile>) {
        self.file = file
        self.judgement = judgement
    }
}

/// What became of a claimed file.
package enum IntakeVerdict: Sendable, Equatable {
    /// A new job.
    case accepted(job: String)
    /// A job with an equal manifest already waits; it stands for this one.
    case coalesced(job: String)
    /// The idempotency key was used before, by this job.
    case duplicate(job: String)
    /// The report, as JSON.
    case rejected(report: Data)

    var word: String {
        switch self {
        case .accepted: "accepted"
        case .coalesced: "coalesced"
        case .duplicate: "duplicate"
        case .rejected: "rejected"
        }
    }

    /// The job that does the work, if any.
    package var job: String? {
        switch self {
        case .accepted(let job), .coalesced(let job), .duplicate(let job): job
        case .rejected: nil
        }
    }
}

/// Why the queue will not take a manifest that is valid by itself.
package struct RefusedSubmission: Error, CustomStringConvertible, Sendable {
    /// A stable word: `concurrency_conflict`, `unknown_job`, `foreign_job`.
    package let code: String
    /// JSON pointer of the value in the manifest.
    package let pointer: String
    package let description: String
}
