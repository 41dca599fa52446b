import Artifacts
import Foundation
package import PipelineSpec

/// What would become of a manifest if its job began now: its inputs, and what each stage would do.
///
/// It asks what the driver asks, in the same order, and changes nothing.
package struct JobPreview: Sendable {
    /// One stage, in an order in which each comes after those it needs.
    package struct Stage: Sendable, Equatable {
        package enum Verdict: String, Sendable {
            case runs, cached, skipped
        }

        package var name: String
        package var kind: String
        package var verdict: Verdict
        /// In words for people.
        package var why: String
        /// `nil` for a stage whose key depends on one that runs.
        package var cacheKey: String?
    }

    package private(set) var stages: [Stage] = []
    /// The data files as they are now, by split key of the manifest.
    package let data: [String: [PinnedFile]]
    /// The tokenizer's files.
    package let tokenizer: [PinnedFile]

    /// Reads and hashes the inputs, and looks into the cache.
    ///
    /// - Parameter queue: Where earlier jobs are on record; without it only the cache knows of them.
    /// - Throws: ``OrchestrationError`` `invalidInput` for inputs that cannot be read.
    package init(
        of submission: Submission, _ configuration: OrchestrationConfiguration, queue: JobQueue? = nil
    ) throws {
        let manifest = submission.manifest
        func descriptor(_ plan: StagePlan) throws -> StageDescriptor {
            guard let found = configuration.descriptors.first(where: { $0.kind == plan.kind }) else {
                throw OrchestrationError(.invalidInput, "this program has no stage of the kind \(plan.kind)")
            }
            return found
        }
        func isSkipped(_ plan: StagePlan) -> Bool {
            plan.condition.map { !CacheKey.isTrue($0, in: manifest) } ?? false
        }
        var inputs: Set<StageDescriptor.Input> = []
        for plan in submission.stages where !isSkipped(plan) { inputs.formUnion(try descriptor(plan).inputs) }
        var pins = try InputPins.take(manifest, inputs: inputs, roots: configuration.roots)
        pins.parent = try InputPins.parent(of: manifest, in: ArtifactStore(configuration.workspace.artifacts))
        (data, tokenizer) = (pins.data, pins.tokenizer)

        let cache = StageCache(configuration.workspace.artifacts)
        let store = ArtifactStore(configuration.workspace.artifacts)
        /// Output digests of the stages so far, by name; `nil` for one that would run.
        var outputs: [String: (kind: String, digest: String?)] = [:]
        var needs: [String: Set<String>] = [:]
        for plan in submission.stages {
            let transitive = plan.needs.reduce(into: Set(plan.needs)) { $0.formUnion(needs[$1] ?? []) }
            needs[plan.name] = transitive
            if let condition = plan.condition, isSkipped(plan) {
                stages.append(
                    Stage(
                        name: plan.name, kind: plan.kind, verdict: .skipped, why: "\(condition) is not set",
                        cacheKey: nil))
                continue
            }
            let needed = submission.stages.filter { transitive.contains($0.name) && outputs[$0.name] != nil }
            if let open = needed.first(where: { outputs[$0.name]?.digest == nil }) {
                outputs[plan.name] = (plan.kind, nil)
                stages.append(
                    Stage(
                        name: plan.name, kind: plan.kind, verdict: .runs,
                        why: "\(open.name) runs before it; if its output is one that was seen before, this is cached",
                        cacheKey: nil))
                continue
            }
            let digests = Dictionary(needed.compactMap { outputs[$0.name] }.map { ($0.kind, $0.digest ?? "") }) { $1 }
            let descriptor = try descriptor(plan)
            let key = try CacheKey.compute(
                descriptor, numericsVersion: configuration.numericsVersion, manifest: manifest, pins: pins,
                outputs: digests)
            var stage = Stage(
                name: plan.name, kind: plan.kind, verdict: .runs,
                why: "its inputs or parameters have not been seen before", cacheKey: key)
            if !descriptor.isCacheable {
                stage.why = "it always runs"
            } else if let output = try cache.lookup(key) {
                if let gone = try output.metadata.published.first(where: { try !store.holds($0) }) {
                    stage.why = "the version it published before, \(gone.name):\(gone.version), is gone"
                } else {
                    stage.verdict = .cached
                    stage.why = "its inputs and parameters are those of an earlier run"
                }
                outputs[plan.name] = (plan.kind, stage.verdict == .cached ? output.digest : nil)
            }
            if outputs[plan.name] == nil { outputs[plan.name] = (plan.kind, nil) }
            stages.append(stage)
        }
        guard let queue, stages.contains(where: { $0.verdict == .runs }) else { return }
        // What the cache has forgotten need not be made again either, where all of it was made.
        let earlier = try EarlierOutputs(queue: queue, store: store).rest(
            of: submission.stages, without: isSkipped, after: [:]
        ) { plan, outputs in
            let descriptor = try descriptor(plan)
            guard descriptor.isCacheable else { return nil }
            return try CacheKey.compute(
                descriptor, numericsVersion: configuration.numericsVersion, manifest: manifest, pins: pins,
                outputs: outputs)
        }
        for index in stages.indices where stages[index].verdict == .runs {
            guard let output = earlier?[stages[index].name] else { continue }
            (stages[index].verdict, stages[index].cacheKey) = (.cached, output.key)
            stages[index].why = "an earlier job did all of this; the output itself was collected"
        }
    }
}
