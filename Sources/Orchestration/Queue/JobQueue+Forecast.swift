import Artifacts
import Foundation
import GRDB
package import PipelineSpec

/// What earlier runs say of later ones.
extension JobQueue {
    /// How long the stages of equal jobs took.
    package func history(of manifest: JobManifest, tenant: String = InboxEntry.defaultTenant) throws -> RunHistory {
        let digest = Digest.sha256(try ProtocolJSON.encode(manifest))
        return try read { try history($0, tenant: tenant, digest: digest) }
    }

    /// The last runs of jobs with this specification.
    func history(_ db: Database, tenant: String, digest: String) throws -> RunHistory {
        try history(
            db, "tenant = ? AND spec_sha256 = ? AND state = 'succeeded' ORDER BY finished_ms DESC", [tenant, digest])
    }

    /// The last runs of jobs of this name, however they were specified.
    func history(_ db: Database, tenant: String, name: String) throws -> RunHistory {
        try history(db, "tenant = ? AND name = ? AND state = 'succeeded' ORDER BY seq DESC", [tenant, name])
    }

    private func history(_ db: Database, _ jobs: String, _ arguments: StatementArguments) throws -> RunHistory {
        // A stage that went on from a checkpoint took what all of its attempts took. What was cached took nothing, and says
        // nothing of a run.
        let rows = try Row.fetchAll(
            db,
            sql: """
                SELECT j.id, s.name, sum(a.ended_ms - a.started_ms) AS took
                FROM (SELECT id, seq FROM job WHERE \(jobs) LIMIT 12) AS j
                JOIN stage_run AS s ON s.job_id = j.id AND s.state = 'succeeded'
                JOIN attempt AS a ON a.stage_id = s.id AND a.ended_ms IS NOT NULL
                GROUP BY s.id ORDER BY j.seq DESC
                """, arguments: arguments)
        var history = RunHistory()
        var counts: [String: Int] = [:]
        for row in rows {
            let name: String = row["name"]
            guard counts[name, default: 0] < 3 else { continue }
            let seconds = Double(max(0, row["took"] as Int64)) / 1000
            counts[name, default: 0] += 1
            history.mean[name, default: 0] += seconds
            history.longest[name] = max(history.longest[name] ?? 0, seconds)
        }
        history.mean = history.mean.reduce(into: [:]) { $0[$1.key] = $1.value / Double(counts[$1.key] ?? 1) }
        history.runs = counts.values.max() ?? 0
        return history
    }

    // MARK: Speed

    /// How fast trainings of models of this size were here.
    ///
    /// - Parameters:
    ///   - operations: Of one token.
    ///   - bits: Of the number format of the large matrices.
    /// - Returns: `nil` before the first.
    package func trainingSpeed(operationsPerToken operations: Double, threads: Int, bits: Int) throws -> MeasuredSpeed?
    {
        try read { try trainingSpeed($0, size: Self.size(operations), threads: threads, bits: bits) }
    }

    private func trainingSpeed(_ db: Database, size: Int, threads: Int, bits: Int?) throws -> MeasuredSpeed? {
        let row = try Row.fetchOne(
            db,
            sql: """
                SELECT gigaflops, runs FROM machine_speed WHERE machine = ? AND threads = ? AND size = ?
                  AND bits = coalesce(?, bits) ORDER BY at_ms DESC LIMIT 1
                """, arguments: [Machine.current, threads, size, bits])
        return row.map { MeasuredSpeed(gigaflops: $0["gigaflops"], runs: $0["runs"]) }
    }

    /// Speed depends on how large the products are: only models of about one size speak for each other.
    private static func size(_ operationsPerToken: Double) -> Int {
        Int((log(max(1, operationsPerToken)) / log(4)).rounded(.down))
    }

    /// Remembers how fast a training was that has ended here: what the last five were counts equally.
    func recordSpeed(_ db: Database, of result: StageResult, job: String) throws {
        guard let speed = result.metrics[StageMetric.trainingGigaflops], speed > 0, speed.isFinite,
            let operations = result.metrics[StageMetric.operationsPerToken], operations.isFinite,
            let bits = result.metrics[StageMetric.precisionBits],
            let threads = try Int.fetchOne(db, sql: "SELECT threads FROM job WHERE id = ?", arguments: [job])
        else { return }
        try db.execute(
            sql: """
                INSERT INTO machine_speed (machine, threads, bits, size, gigaflops, runs, at_ms)
                VALUES (?, ?, ?, ?, ?, 1, ?)
                ON CONFLICT (machine, threads, bits, size) DO UPDATE SET
                  gigaflops = gigaflops + (excluded.gigaflops - gigaflops) / (min(runs, 4) + 1),
                  runs = runs + 1, at_ms = excluded.at_ms
                """, arguments: [Machine.current, threads, Int(bits), Self.size(operations), speed, now()])
    }

    // MARK: Time that is left

    /// Answers of one listing, so that equal jobs are looked up once.
    struct ForecastCache {
        fileprivate var histories: [String: RunHistory] = [:]
        /// Each is a walk through earlier runs, which a listing of thousands would feel.
        fileprivate static let most = 200
    }

    /// How long a job that has not ended will still take, once it has what it waits for.
    ///
    /// - Parameter worker: Seconds that the process of its stage says it takes, if one runs and says so.
    /// - Returns: `nil` when nobody knows.
    func expectation(
        _ db: Database, _ row: Row, worker: Double?, _ cache: inout ForecastCache
    ) throws -> Expectation? {
        let digest: String = row["spec_sha256"]
        if cache.histories[digest] == nil, cache.histories.count < ForecastCache.most {
            cache.histories[digest] = try history(db, tenant: row["tenant"], digest: digest)
        }
        var history = cache.histories[digest] ?? RunHistory()
        let current: String? = row["stage_name"]
        let open = try Row.fetchAll(
            db,
            sql: """
                SELECT name, kind FROM stage_run
                WHERE job_id = ? AND state IN ('blocked','ready','running','retry_wait')
                """, arguments: [row["id"] as String])
        var source = Expectation.Source.history(runs: history.runs)
        if history.runs == 0 {
            // Of a first run only the training is counted, and once that is over nothing is known but what runs now.
            let training = open.first { $0["kind"] == "train" }.map { $0["name"] as String }
            if let training, let speed = try countedSpeed(db, row), let operations: Double = row["operations"] {
                history.mean[training] = operations / (speed.gigaflops * 1e9)
                source = .operations(gigaflops: speed.gigaflops)
            } else if worker == nil {
                return nil
            }
        }
        var seconds = worker ?? 0
        for name in open.map({ $0["name"] as String }) where worker == nil || name != current {
            seconds += history.mean[name] ?? 0
        }
        if worker == nil, let began: Int64 = row["attempt_ms"], let current {
            seconds -= min(history.mean[current] ?? 0, Double(max(0, now() - began)) / 1000)
        }
        return Expectation(seconds: seconds, source: worker == nil ? source : .worker)
    }

    /// How fast a training of the size of a job's was here.
    private func countedSpeed(_ db: Database, _ row: Row) throws -> MeasuredSpeed? {
        guard let perToken: Double = row["operations_per_token"] else { return nil }
        return try trainingSpeed(
            db, size: Self.size(perToken), threads: row["threads"], bits: row["precision_bits"])
    }
}

/// This kind of machine, as far as its speed goes.
enum Machine {
    /// The processor's name and how many of its cores there are.
    static let current: String = {
        let information = FileManager.default.contents(atPath: "/proc/cpuinfo") ?? Data()
        let line = String(decoding: information, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("model name") || $0.hasPrefix("Model") || $0.hasPrefix("CPU part") }
        let name = line?.split(separator: ":", maxSplits: 1).last?.trimmingCharacters(in: .whitespaces) ?? "unknown"
        return "\(name) x\(ProcessInfo.processInfo.activeProcessorCount)"
    }()
}
