import Artifacts
import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The queue is lost; the files are not.
@Suite struct RebuildTests {
    /// A workspace with jobs that succeeded, failed, were cancelled, never began, were rejected and coalesced.
    private func workspace() async throws -> (TestWorkspace, ids: [String: String]) {
        let test = try TestWorkspace()
        try test.behave("merge", "fail 65 invalid_input refused")
        var ids: [String: String] = [:]
        ids["rejected"] = try test.submit("nonsense\n", name: "bad.yaml")
        ids["succeeded"] = try test.submit("name: tone\n")
        ids["failed"] = try test.submit("name: other\nmerge: yes\n", tenant: "acme")
        try await withDaemon(test.configuration()) { _ in
            #expect(try await test.end(of: ids["succeeded"]!).state == .succeeded)
            #expect(try await test.end(of: ids["failed"]!).state == .failed)
            ids["held"] = try test.submit("name: later\nhold: yes\n")
            try await eventually("it is held") { (try? test.status(ids["held"]!).state) == .held }
            ids["coalesced"] = try test.submit("name: later\nhold: yes\n")
            ids["dependent"] = try test.submit("name: tone\nseed: 2\nonce: only\nafter: \(ids["held"]!)\n")
            try await eventually("all are taken") {
                let queue = try test.queue()
                return try queue.verdict(of: ids["coalesced"]!) == .coalesced(job: ids["held"]!)
                    && queue.verdict(of: ids["dependent"]!) != nil && queue.unfiledIntake().isEmpty
            }
        }
        return (test, ids)
    }

    /// Everything the queue says, without its history, as text.
    private func rows(_ test: TestWorkspace) throws -> [String] {
        try test.queue().read { db in
            try [
                "SELECT * FROM intake ORDER BY claim_id", "SELECT * FROM job ORDER BY id",
                "SELECT * FROM stage_run ORDER BY id", "SELECT * FROM attempt ORDER BY id",
            ].flatMap { try Row.fetchAll(db, sql: $0).map { "\($0)" } }
        }
    }

    private func lose(_ test: TestWorkspace) {
        for ending in ["", "-wal", "-shm"] { unlink(test.workspace.database.path + ending) }
    }

    /// Overwrites the middle of the file, so that SQLite opens it and then finds it malformed.
    private func damage(_ test: TestWorkspace) throws {
        let file = test.workspace.database
        var bytes = try Data(contentsOf: file)
        for place in stride(from: 4096, to: bytes.count, by: 4096) {
            for index in place..<place + 64 { bytes[index] ^= 0xFF }
        }
        try bytes.write(to: file)
    }

    private func state(_ test: TestWorkspace, _ id: String?) throws -> JobState { try test.status(id ?? "").state }

    @Test func everythingIsFoundAgainAndNothingRunsTwice() async throws {
        let (test, ids) = try await workspace()
        let before = try test.queue().list().reduce(into: [:]) { $0[$1.id] = $1.tenant }
        let started = test.started().count
        try damage(test)
        let report = try QueueRebuild(test.configuration()).run()
        #expect(report.manifests == ["accepted": 4, "rejected": 1, "coalesced": 1], "\(report)")
        #expect(report.jobs == [.succeeded: 1, .held: 3], "\(report)")
        #expect(report.movedAway.contains { $0.hasPrefix("Jobs/lorajobs.sqlite.damaged-") }, "\(report)")
        for path in report.movedAway { #expect(access(test.root(path).path, F_OK) == 0) }

        let after = try test.queue().list().reduce(into: [:]) { $0[$1.id] = $1.tenant }
        #expect(after == before)
        #expect(try state(test, ids["succeeded"]) == .succeeded)
        #expect(try test.status(ids["succeeded"]!).adapter == "tone:1")
        for name in ["failed", "held", "dependent"] {
            #expect(try state(test, ids[name]) == .held)
            let reason = try test.queue().show(ids[name]!).status.reason
            #expect(reason == "Held(recovered; release to run again)")
        }
        #expect(try test.queue().verdict(of: ids["coalesced"]!) == .coalesced(job: ids["held"]!))
        guard case .rejected? = try test.queue().verdict(of: ids["rejected"]!) else {
            Issue.record("the rejection is gone")
            return
        }
        #expect(try Invariants(test.workspace).violations() == [])

        // A daemon starts none of it; a job that is let go begins after the folders that are there.
        try test.behave("merge", "")
        try await withDaemon(test.configuration()) { _ in
            let new = try test.submit("name: new\n")
            #expect(try await test.end(of: new).state == .succeeded)
            #expect(test.started().count == started + 1)
            try test.queue().release(ids["failed"]!)
            let end = try await test.end(of: ids["failed"]!)
            #expect(end.state == .succeeded && end.adapter == "other:1", "\(end)")
        }
        let merge = try test.queue().show(ids["failed"]!).stages.first { $0.name == "merge" }
        #expect(merge?.attempts.map(\.number) == [1, 2])
        #expect(try test.versions == [1])
        #expect(try Invariants(test.workspace).violations() == [])
    }

    /// What is known of an end is known again: when, for how long, why, and what the gate said.
    @Test func anEndIsFoundAgainAsItWas() async throws {
        let test = try TestWorkspace()
        let verdict = GateVerdict(outcome: .held, alias: "production", champion: nil, reason: "too close to call")
        let json = String(decoding: try ProtocolJSON.encode(verdict), as: UTF8.self)
        try test.behave("package", "record='{\"schema\":1,\"gate\":\(json)}'\n")
        try test.behave("train", "sleep 1.1\nmetrics='{\"loss\":0.5}'\n")
        let night = try test.submit("name: tone\ngate: production\n")
        var unchanged = ""
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.end(of: night)
            unchanged = try test.submit("name: tone\ngate: production\n", name: "again.yaml")
            #expect(try await test.end(of: unchanged).reason == "unchanged")
            try await eventually("its report is there") {
                access(test.workspace.runs.appending(path: "\(unchanged)/report.json").path, F_OK) == 0
            }
        }
        let before = try test.status(night)
        lose(test)
        let report = try QueueRebuild(test.configuration()).run()
        #expect(report.jobs == [.succeeded: 2], "\(report)")
        let after = try test.status(night)
        #expect(after.reason == before.reason && after.gate == "held" && after.adapter == "tone:1", "\(after)")
        #expect((after.elapsed ?? 0) >= 1, "\(after)")
        #expect(try test.status(unchanged).reason == "unchanged")
        let stages = try test.queue().show(night).stages
        #expect(stages.map(\.state) == [.succeeded, .succeeded, .skipped, .succeeded])
        #expect(stages[1].attempts.first?.metrics == ["loss": 0.5])
        #expect(stages[1].attempts.first.flatMap { $0.endedAt?.timeIntervalSince($0.startedAt) } ?? 0 >= 1)
        // What waits for a word waits still, and is in the cache for the next night.
        let waiting = try test.queue().versionsAwaitingApproval(in: ArtifactStore(test.workspace.artifacts))
        #expect(waiting.map(\.version) == [1])
        #expect(try Invariants(test.workspace).violations() == [])
        // Without its report, a version and the store's log still say as much as they know.
        unlink(test.workspace.runs.appending(path: "\(night)/report.json").path)
        lose(test)
        _ = try QueueRebuild(test.configuration()).run()
        let known = try test.status(night)
        #expect(known.gate == "held" && known.reason == before.reason && (known.elapsed ?? 0) >= 1, "\(known)")
    }

    @Test func aSecondRebuildIsEqual() async throws {
        let (test, _) = try await workspace()
        lose(test)
        let first = try QueueRebuild(test.configuration()).run()
        #expect(first.movedAway.isEmpty)
        let rows = try rows(test)
        #expect(rows.count > 10)
        lose(test)
        #expect(try QueueRebuild(test.configuration()).run() == first)
        #expect(try self.rows(test) == rows)
    }

    @Test func aSoundQueueAndARunningDaemonAreLeftAlone() async throws {
        let (test, _) = try await workspace()
        let rebuild = QueueRebuild(test.configuration())
        #expect(code { try rebuild.run() } == .wrongState)
        try damage(test)
        let lock = try DaemonLock(test.workspace)
        #expect(code { try rebuild.run() } == .busy)
        withExtendedLifetime(lock) {}
    }

    @Test func aWorkerThatRunsIsWaitedFor() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "while [ ! -f \"$root/go\" ]; do sleep 0.05; done")
        let id = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        lose(test)
        let rebuild = QueueRebuild(test.configuration())
        #expect(code { try rebuild.run() } == .busy)
        try Data().write(to: test.root("go"))
        let directory = test.workspace.run(job: id, stage: "train", attempt: 1)
        try await eventually("it ends") { try !WorkerProcess.isLockHeld(directory) }
        #expect(try rebuild.run().jobs == [.held: 1])
        #expect(try test.queue().show(id).stages.flatMap(\.attempts).count == 2)
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func aJobWhoseManifestNoLongerHoldsIsFailedAndSaysWhy() async throws {
        let (test, ids) = try await workspace()
        lose(test)
        var configuration = test.configuration()
        configuration.resolve = { _, _ in .failure(InvalidFile([Finding(.missingKey, "the base is gone")])) }
        let report = try QueueRebuild(configuration).run()
        // The pipeline of the workspace has stages that these tests do not have, so no kept manifest helps.
        #expect(report.jobs == [.succeeded: 1, .failed: 3], "\(report)")
        let failed = try test.status(ids["held"]!)
        #expect(failed.state == .failed && failed.reason?.contains("the base is gone") == true)
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func aRetryIsFoundByItsFolderAndItsVersion() async throws {
        let test = try TestWorkspace()
        try Data(
            """
            version: 1
            name: finetune
            stages:
              tokenize: {uses: tokenize}
              train: {uses: train, needs: [tokenize]}
              package: {uses: package, needs: [train]}
            """.utf8
        ).write(to: test.workspace.pipeline("finetune"))
        try test.behave("package", "[ -f \"$root/mended\" ] || fail 65 invalid_input no")
        let id = try test.submit("name: tone\n")
        var retries: [String] = []
        try await withDaemon(test.configuration()) { _ in
            #expect(try await test.end(of: id).state == .failed)
            retries.append(try test.queue().retry(id))
            #expect(try await test.end(of: retries[0]).state == .failed)
            try Data().write(to: test.root("mended"))
            retries.append(try test.queue().retry(id))
            #expect(try await test.end(of: retries[1]).state == .succeeded)
        }
        lose(test)
        #expect(try QueueRebuild(test.configuration()).run().jobs == [.succeeded: 1, .held: 2])
        #expect(try state(test, retries[0]) == .held)
        #expect(try test.status(retries[1]).adapter == "tone:1")
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func aClaimThatHasRunIsNoNewJob() async throws {
        let (test, ids) = try await workspace()
        let id = try #require(ids["succeeded"])
        let filed = try #require(test.files(test.workspace.accepted, ending: "\(id)__job.yaml").first)
        let path = test.workspace.accepted.appending(path: filed)
        unlink(path.path + ".receipt.json")
        #expect(rename(path.path, test.workspace.claimed.appending(path: "\(id)__job.yaml").path) == 0)
        lose(test)
        #expect(try QueueRebuild(test.configuration()).run().jobs[.succeeded] == 1)
        try await withDaemon(test.configuration()) { _ in
            try await eventually("it is filed") { try test.queue().unfiledIntake().isEmpty }
        }
        #expect(try state(test, id) == .succeeded)
        #expect(try test.versions == [1])
        #expect(access(path.path + ".receipt.json", F_OK) == 0)
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func aBackupKnowsWhatFilesDoNot() async throws {
        let (test, ids) = try await workspace()
        try test.queue().setPaused(true, queue: "default")
        let retry = try test.queue().retry(ids["failed"]!)
        let backup = JobQueue.backupFile(of: test.workspace)
        try JobQueue.openReadOnly(test.workspace.database).backUp(to: backup)
        #expect(code { try JobQueue.openReadOnly(test.workspace.database).backUp(to: backup) } != nil)
        #expect(try QueueHealth(file: backup).problems() == [])
        try test.queue().setPaused(false, queue: "default")
        var later = ""
        try test.behave("merge", "")
        try await withDaemon(test.configuration()) { _ in
            later = try test.submit("name: later2\n")
            #expect(try await test.end(of: later).state == .succeeded)
            #expect(try await test.end(of: retry).state == .succeeded)
        }
        try damage(test)
        let report = try QueueRebuild(test.configuration()).run(fromBackup: true)
        #expect(report.backup == test.workspace.relativePath(backup))
        // The failure is remembered, the retry's version counts, what came after the backup comes from the files.
        #expect(try state(test, ids["failed"]) == .failed)
        #expect(try test.status(retry).adapter == "other:1")
        #expect(try test.status(later).adapter == "later2:1")
        for name in ["held", "dependent"] { #expect(try state(test, ids[name]) == .held) }
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func schedulesCountFromNow() async throws {
        let test = try TestWorkspace()
        try Data("name: tone\n".utf8).write(to: test.workspace.schedules.appending(path: "nightly.yaml"))
        try test.queue().setPaused(true, schedule: "nightly")
        try test.queue().close()
        lose(test)
        let before = Int64(Date().timeIntervalSince1970 * 1000)
        let report = try QueueRebuild(test.configuration()).run()
        #expect(report.notes.contains { $0.contains("1 schedules count from now") }, "\(report)")
        let record = try #require(try test.queue().schedules()["nightly"])
        #expect(record.evaluated >= before && !record.definition.isEmpty)
    }

    private func code(_ body: () throws -> some Any) -> OrchestrationError.Code? {
        do {
            _ = try body()
            return nil
        } catch {
            return (error as? OrchestrationError)?.code
        }
    }
}
