import Artifacts
import Foundation
import Logging
import PipelineSpec

/// How a job ends that has done all its stages: what its gate said is decided upon, and takes effect with its end.
extension JobDriver {
    /// The versions that the job's own will be measured against.
    func rivals(of job: DrivenJob) throws -> PinnedRivals {
        try store.rivals(
            of: job.name, alias: job.manifest.gate?.alias ?? ArtifactReference.production, in: Self.collection(job))
    }

    private static func collection(_ job: DrivenJob) -> ArtifactCollection {
        job.manifest.adapter.method == .full ? .models : .adapters
    }

    /// Ends the job, and moves the alias when its gate lets it.
    func conclude(_ job: DrivenJob) throws {
        guard job.stages.contains(where: { $0.state == .succeeded }) else {
            return try queue.finishJob(job.id, .succeeded, reason: "unchanged")
        }
        let decision = try decision(on: job)
        let cut = try queue.cut(of: job.id).map { "budget: \($0.text)" }
        let reasons = [decision.map(\.words), cut].compactMap { $0 }
        try queue.finishJob(
            job.id, .succeeded, reason: reasons.isEmpty ? nil : reasons.joined(separator: "; "), decision: decision)
        guard let decision else { return }
        try Failpoint.decisionCommitted.hit()
        for error in try GateDecisions.follow(queue, store) {
            configuration.logger.error("the store does not follow", metadata: ["error": "\(error)"])
        }
        configuration.logger.info(
            "gate \(decision.outcome)",
            metadata: ["job": "\(job.id)", "version": "\(job.name):\(decision.version)", "why": "\(decision.reason)"])
    }

    /// What follows from the verdict in the record of the version that the job has published; `nil` without one.
    private func decision(on job: DrivenJob) throws -> GateDecision? {
        let collection = Self.collection(job)
        guard let gate = job.manifest.gate,
            let published = try queue.published(by: job.id).last(where: { $0.collection == collection })
        else { return nil }
        let version = try store.resolve(
            ArtifactReference(name: published.name, selector: .version(published.version)), in: collection)
        guard let record = version.record["gate"], record != .null else { return nil }
        var verdict = try ProtocolJSON.decode(GateVerdict.self, from: record.data())
        let current = try store.aliases(of: version.name, in: collection)[gate.alias]
        func change(_ outcome: GateVerdict.Outcome, _ reason: String) {
            (verdict.outcome, verdict.reason) = (outcome, reason)
        }
        if let rejection = try store.rejection(of: version) {
            change(.failed, rejection)
        } else if verdict.outcome == .passed, current != verdict.champion {
            func name(_ number: Int?) -> String { number.map { "version \($0)" } ?? "nothing" }
            change(
                .held,
                "\(gate.alias) was \(name(verdict.champion)) when the two were compared, and is \(name(current)) now")
        } else if verdict.outcome == .passed, let damage = try store.verify(version).first {
            change(.held, "it is damaged: \(damage.message)")
        }
        return GateDecision(
            id: ULID().description, collection: collection, name: version.name, alias: gate.alias,
            version: version.number, digest: version.digest, moves: verdict.outcome == .passed, from: current,
            outcome: verdict.outcome.rawValue, reason: PrintableText.line(verdict.reason, limit: 600),
            time: Date(timeIntervalSince1970: Double(queue.now()) / 1000))
    }
}

extension GateDecision {
    /// How the job ended, as `status` shows it.
    var words: String {
        let beginning =
            switch GateVerdict.Outcome(rawValue: outcome) {
            case .passed: "promoted to \(alias)"
            case .held: "held for approval (lorajobs adapters promote \(name):\(version))"
            case .failed, nil: "gate failed"
            }
        return "\(beginning): \(reason)"
    }
}
