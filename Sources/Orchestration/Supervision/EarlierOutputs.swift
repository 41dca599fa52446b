import Artifacts
import Foundation
import GRDB
import PipelineSpec

/// What jobs are on record to have made, where the cache has forgotten the files: whoever would make the same again, and
/// nothing else, need not.
struct EarlierOutputs {
    let queue: JobQueue
    let store: ArtifactStore

    /// What a stage made.
    struct Output: Sendable {
        var key: String
        var output: StageOutput
    }

    /// The outputs of all stages that are left, by name; `nil` unless each is known and a version that came of them is still
    /// in the store.
    ///
    /// - Parameters:
    ///   - stages: All stages of a job, in topological order.
    ///   - isSkipped: Whether the job leaves a stage out.
    ///   - known: The output digests of those that are done, by name.
    ///   - key: The key of a stage, from the output digests of its needs by kind; `nil` where it always runs.
    func rest(
        of stages: [StagePlan], without isSkipped: (StagePlan) -> Bool, after known: [String: String],
        key: (StagePlan, _ outputs: [String: String]) throws -> String?
    ) throws -> [String: Output]? {
        let cache = StageCache(store.root)
        var digests = known
        var needs: [String: Set<String>] = [:]
        var found: [String: Output] = [:]
        var hasVersion = false
        for stage in stages {
            needs[stage.name] = stage.needs.reduce(into: Set(stage.needs)) { $0.formUnion(needs[$1] ?? []) }
            guard digests[stage.name] == nil, !isSkipped(stage) else { continue }
            var outputs: [String: String] = [:]
            for need in stages where needs[stage.name]?.contains(need.name) == true {
                if let digest = digests[need.name] { outputs[need.kind] = digest }
            }
            guard let key = try key(stage, outputs) else { return nil }
            let cached = try cache.lookup(key)
            guard
                let (digest, path) = try cached.map({ (digest: $0.digest, path: $0.folder.path) })
                    ?? queue.recorded(underKey: key)
            else { return nil }
            var published = try queue.published(underKey: key).map {
                try ProtocolJSON.decode([StageCache.PublishedVersion].self, from: Data($0.utf8))
            }
            if let own = cached?.metadata.published, !own.isEmpty { published.append(own) }
            var output = StageOutput(digest: digest, path: path, adapter: nil)
            if !published.isEmpty {
                guard let versions = try published.first(where: { try $0.allSatisfy(store.holds) }) else { return nil }
                output.adapter = JobDriver.reference(versions)
                hasVersion = true
            }
            digests[stage.name] = digest
            found[stage.name] = Output(key: key, output: output)
        }
        return hasVersion ? found : nil
    }
}

extension ArtifactStore {
    /// Whether a version that was published is still there, with the same content.
    func holds(_ version: StageCache.PublishedVersion) throws -> Bool {
        do {
            return try versions(of: version.name, in: version.collection)
                .contains { $0.number == version.version && $0.digest == version.digest }
        } catch let error as ArtifactError where error.code == .noSuchArtifact {
            return false
        }
    }
}

extension JobQueue {
    /// What the newest run of a stage with this key has made. Its files may be gone.
    func recorded(underKey key: String) throws -> (digest: String, path: String)? {
        try read { db in
            let rows = try Row.fetchAll(
                db,
                sql: """
                    SELECT output_digest, output_path FROM stage_run
                    WHERE cache_key = ? AND state = 'succeeded' AND output_path IS NOT NULL ORDER BY rowid DESC
                    """, arguments: [key])
            // What has ended before its work was done lies under another key, and so does what is no answer to this one.
            let digits = key.dropFirst("sha256:".count)
            for row in rows {
                let path: String = row["output_path"]
                if path.contains("/\(digits)/") { return (row["output_digest"], path) }
            }
            return nil
        }
    }
}
