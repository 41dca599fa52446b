import Artifacts
import Foundation
import Logging
import PipelineSpec

/// What a driver does with the product of a stage: publish it, keep it, and find it again.
extension JobDriver {
    /// Publishes and keeps what a stage made.
    ///
    /// Each step may be repeated: after a crash in between, the next daemon does it again and nothing happens twice.
    func finalise(_ result: StageResult, _ attempt: LiveAttempt, _ stage: StageRow) async throws -> AttemptOutcome {
        try queue.confirmLive(attempt)
        let job = try queue.drivenJob(self.job)
        guard let whole = try self.stage(of: attempt, in: job).cacheKey else {
            throw OrchestrationError(.notFound, "stage \(attempt.stage) has no cache key")
        }
        let key = result.cut.map { CacheKey.cut(whole, $0) } ?? whole
        let store = self.store
        let cache = self.cache
        let now = Date(timeIntervalSince1970: Double(queue.now()) / 1000)
        do {
            return try await offActor {
                var published: [StageCache.PublishedVersion] = []
                for publication in result.publications {
                    let version = try store.publish(
                        publication, from: attempt.directory.out, attemptID: attempt.id, now: now)
                    published.append(StageCache.PublishedVersion(version))
                }
                try Failpoint.finalisePublished.hit()
                let output = try cache.store(
                    key: key, folder: attempt.directory.out,
                    metadata: StageCache.Metadata(
                        kind: stage.plan.kind, created: now, attemptID: attempt.id, metrics: result.metrics,
                        published: published,
                        cost: StageCost(
                            cpuSeconds: result.cpuSeconds, peakRSSBytes: result.peakRSSBytes,
                            // A log that cannot be read costs no version.
                            log: try? Digest.sha256(of: attempt.directory.log))))
                let json = try ProtocolJSON.encode(published)
                try Failpoint.finaliseCached.hit()
                return .succeeded(
                    result,
                    StageOutput(
                        digest: output.digest, path: output.folder.path,
                        published: published.isEmpty ? nil : String(decoding: json, as: UTF8.self),
                        adapter: Self.reference(published)))
            }
        } catch let error as ArtifactError where [.invalidFolder, .invalidName].contains(error.code) {
            return .failedForGood(
                .failed, StageFailure(code: error.code.rawValue, message: error.description), result)
        } catch let error as ArtifactError where error.code == .damaged {
            // Another try would meet the same. What earlier stages made is in the cache, and a retry begins there.
            let message = "\(error.description); then: lorajobs retry \(self.job)"
            return .failedForGood(.failed, StageFailure(code: error.code.rawValue, message: message), result)
        } catch  where OrchestrationError.isDiskFull(error) {
            // The worker is done and its product is safe in the run directory: wait for room, then finish.
            configuration.logger.warning("no room to publish", metadata: ["job": "\(job.id)"])
            while !shutdown.isSet && configuration.isDiskLow {
                await wakeup.wait(seconds: configuration.pollInterval)
            }
            if shutdown.isSet { throw DriverLeft() }
            await wakeup.wait(seconds: configuration.pollInterval)
            return try await finalise(result, attempt, stage)
        }
    }

    enum CacheAnswer {
        case hit(StageOutput)
        case versionGone(String)
        case miss
    }

    /// An earlier output, if what it published is still in the store.
    func cachedOutput(_ key: String) throws -> CacheAnswer {
        guard let output = try cache.lookup(key) else { return .miss }
        let later = try queue.published(underKey: key).map {
            try ProtocolJSON.decode([StageCache.PublishedVersion].self, from: Data($0.utf8))
        }
        for published in [output.metadata.published] + later where try published.allSatisfy(store.holds) {
            return .hit(
                StageOutput(digest: output.digest, path: output.folder.path, adapter: Self.reference(published)))
        }
        return .versionGone(Self.reference(output.metadata.published) ?? "")
    }

    /// `name:3`, of an adapter if there is one.
    static func reference(_ published: [StageCache.PublishedVersion]) -> String? {
        let chosen = published.first { $0.collection == .adapters } ?? published.first
        return chosen.map { "\($0.name):\($0.version)" }
    }
}
