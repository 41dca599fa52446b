package import Foundation
package import PipelineSpec

/// The jobs that a manifest with a `matrix:` makes.
package struct SweepPlan: Sendable {
    /// One of them.
    package struct Trial: Sendable {
        package var manifest: JobManifest
        /// Where each value came from, as ``Submission/origins``.
        package var origins: Data
        package var memoryBytes: Int64?
        package var work: CountedWork?

        package init(manifest: JobManifest, origins: Data, memoryBytes: Int64? = nil, work: CountedWork? = nil) {
            self.manifest = manifest
            self.origins = origins
            self.memoryBytes = memoryBytes
            self.work = work
        }
    }

    /// The keys in which they differ.
    package var keys: [String]
    package var trials: [Trial]
    /// What a trial runs; what a job with the winner's values runs is in the submission.
    package var stages: [StagePlan]
    /// Whether such a job follows by itself.
    package var trainsWinner: Bool
    /// What they are ranked by.
    package var metric: JobManifest.Metric

    package init(
        keys: [String], trials: [Trial], stages: [StagePlan], trainsWinner: Bool, metric: JobManifest.Metric = .loss
    ) {
        self.keys = keys
        self.trials = trials
        self.stages = stages
        self.trainsWinner = trainsWinner
        self.metric = metric
    }
}

/// A sweep as far as it has come.
package struct SweepStatus: Sendable {
    /// One trial: its newest job, where it was done again.
    package struct Trial: Sendable, Equatable {
        /// From 1, the best; `nil` for one that has not succeeded, or has no value.
        package var rank: Int?
        /// Its place in the matrix, from 0.
        package var index: Int
        package var job: String
        package var state: JobState
        package var reason: String?
        /// The values of the sweep's keys, in their order.
        package var parameters: [JSONValue]
        /// What it is ranked by: the sweep's metric on the validation split.
        package var value: Double?
        /// The lowest loss on the validation split, in nats.
        package var validationLoss: Double?
        package var trainingLoss: Double?
        package var steps: Int?
        /// What its stages took; what came from the cache took nothing.
        package var seconds: Double
    }

    /// The id of the manifest's claim, which is that of the first trial's job too.
    package var id: String
    package var name: String
    package var tenant: String
    package var ownerID: UInt32
    package var keys: [String]
    package var trainsWinner: Bool
    /// What the trials are ranked by.
    package var metric: JobManifest.Metric
    /// The job with the winner's values, once there is one.
    package var followUp: String?
    /// The ranked ones first.
    package var trials: [Trial]
    package var createdAt: Date

    /// Whether every trial has ended.
    package var isDone: Bool { trials.allSatisfy(\.state.isFinal) }
    package var winner: Trial? { trials.first { $0.rank == 1 } }
}
