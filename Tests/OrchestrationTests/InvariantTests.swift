import Artifacts
import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// Each invariant is broken once, by hand, and must be named.
@Suite struct InvariantTests {
    /// A workspace in which one job has succeeded, one was rejected, and no daemon runs.
    private func workspace() async throws -> (TestWorkspace, job: String) {
        let test = try TestWorkspace()
        try test.submit("nonsense\n", name: "bad.yaml")
        let id = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        return (test, id)
    }

    private func violations(_ test: TestWorkspace) throws -> [Violation] { try Invariants(test.workspace).violations() }

    /// Changes rows as no program of ours would: rules and triggers do not apply.
    private func damage(_ test: TestWorkspace, _ statements: String) throws {
        let database = try DatabaseQueue(path: test.workspace.database.path)
        try database.writeWithoutTransaction { db in
            let triggers = try String.fetchAll(db, sql: "SELECT name FROM sqlite_schema WHERE type = 'trigger'")
            for name in triggers { try db.execute(sql: "DROP TRIGGER \(name)") }
            for name in ["attempt_one_live", "job_one_active", "job_one_equal_pending", "job_idempotency"] {
                try db.execute(sql: "DROP INDEX \(name)")
            }
            try db.execute(sql: "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; " + statements)
        }
        try database.close()
    }

    @Test func aSoundWorkspaceHasNone() async throws {
        let (test, _) = try await workspace()
        #expect(try violations(test) == [])
        #expect(try Invariants(TestWorkspace().workspace).violations() == [])
    }

    @Test(arguments: [
        ("I1", "UPDATE job SET claim_id = NULL, schedule_id = 'nightly'"),
        ("I1", "UPDATE job SET schedule_id = 'nightly'"),
        ("I2", "UPDATE attempt SET state = 'running', ended_ms = NULL"),
        ("I2", "UPDATE stage_run SET state = 'running' WHERE name = 'train'"),
        ("I3", "UPDATE job SET finished_ms = NULL"),
        ("I3", "UPDATE attempt SET ended_ms = NULL"),
        ("I3", "UPDATE stage_run SET state = 'blocked' WHERE name = 'train'"),
        ("I3", "UPDATE stage_run SET state = 'failed' WHERE name = 'train'"),
        ("I4", "UPDATE stage_run SET output_digest = NULL WHERE name = 'train'"),
        ("I4", "UPDATE stage_run SET output_digest = 'sha256:0' WHERE name = 'train'"),
        ("I5", "UPDATE attempt SET state = 'crashed'"),
        ("I8", "UPDATE intake SET verdict = 'rejected', job_id = NULL, error_json = '{}' WHERE verdict = 'accepted'"),
        (
            "I9",
            """
            CREATE TEMP TABLE copy AS SELECT * FROM job; ALTER TABLE copy DROP COLUMN rank_ms;
            UPDATE copy SET id = 'other', seq = 99, claim_id = NULL, retry_of = (SELECT id FROM job), finished_ms = NULL;
            INSERT INTO job SELECT * FROM copy; UPDATE job SET finished_ms = NULL;
            """
        ),
        (
            "I9",
            """
            CREATE TEMP TABLE copy AS SELECT * FROM job; ALTER TABLE copy DROP COLUMN rank_ms;
            UPDATE copy SET id = 'other', seq = 99, claim_id = NULL, retry_of = (SELECT id FROM job), started_ms = NULL;
            INSERT INTO job SELECT * FROM copy; UPDATE job SET finished_ms = NULL, started_ms = NULL;
            """
        ),
        ("I10", "DELETE FROM job"),
        ("I11", "UPDATE job_count SET n = n + 1"),
        ("I11", "DELETE FROM job_count"),
    ])
    func aBrokenRowIsNamed(_ code: String, _ statements: String) async throws {
        let (test, _) = try await workspace()
        try damage(test, statements)
        let found = try violations(test)
        #expect(found.contains { $0.invariant.rawValue == code }, "\(found)")
    }

    @Test func aBrokenStoreIsNamed() async throws {
        let (test, _) = try await workspace()
        let store = ArtifactStore(test.workspace.artifacts)
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "test")
        #expect(try violations(test) == [])
        let home = test.workspace.artifacts.appending(path: "adapters/tone")

        // Moved by hand: the log does not know, and the next write writes it down.
        unlink(home.appending(path: "production").path)
        var found = try violations(test)
        #expect(found.map(\.invariant) == [.aliases] && found.allSatisfy(\.isRepairable), "\(found)")
        symlink("7", home.appending(path: "production").path)
        found = try violations(test)
        #expect(found.map(\.invariant) == [.aliases, .aliases], "\(found)")
        unlink(home.appending(path: "production").path)
        symlink("1", home.appending(path: "production").path)
        #expect(try violations(test) == [])

        let log = home.appending(path: "log.jsonl")
        let text = try String(contentsOf: log, encoding: .utf8)
        let old = text.replacing(/,"sum":"[0-9a-f]+"/, with: "")
        try Data(text.replacing(#""version":1"#, with: #""version":3"#).utf8).write(to: log)
        found = try violations(test)
        #expect(found.allSatisfy { $0.subject == "tone" && $0.message.contains("log.jsonl:") }, "\(found)")
        #expect(found.map(\.invariant) == [.versions] && found[0].isRepairable, "the log once: \(found)")
        // As a program wrote it that knew no sums.
        try Data(old.replacing(#""version":1"#, with: #""version":3"#).utf8).write(to: log)
        found = try violations(test)
        #expect(Set(found.map(\.invariant)) == [.versions, .aliases], "\(found)")
        #expect(found.contains { $0.subject == "tone:2" })
        try Data(text.utf8).write(to: log)

        let weights = home.appending(path: "1/adapter_model.safetensors")
        let bytes = try Data(contentsOf: weights)
        chmod(weights.path, 0o644)
        let handle = try FileHandle(forWritingTo: weights)
        try handle.write(contentsOf: Data("W".utf8))
        try handle.close()
        found = try violations(test)
        #expect(found.contains { $0.invariant == .versions && $0.subject == "tone:1" }, "\(found)")
        #expect(!bytes.isEmpty)
        #expect(try Invariants(test.workspace, readsContent: false).violations() == [])
    }

    @Test func aMisplacedFileIsNamed() async throws {
        let (test, id) = try await workspace()
        let filed = try #require(test.files(test.workspace.accepted, ending: "\(id)__job.yaml").first)
        let path = test.workspace.accepted.appending(path: filed)
        let bytes = try Data(contentsOf: path)
        for (change, isRepairable) in [
            ({ _ = try FileManager.default.removeItem(at: path) }, true),
            ({ try bytes.write(to: test.workspace.claimed.appending(path: "\(id)__job.yaml")) }, false),
            ({ try bytes.write(to: path.deletingLastPathComponent().appending(path: "\(ULID())__job.yaml")) }, false),
            ({ unlink(path.path + ".receipt.json") }, true),
        ] as [(() throws -> Void, Bool)] {
            try change()
            let found = try violations(test)
            #expect(found.map(\.invariant) == [.files] && found.first?.isRepairable == isRepairable, "\(found)")
            for name in test.files(path.deletingLastPathComponent(), ending: "__job.yaml") {
                try FileManager.default.removeItem(at: path.deletingLastPathComponent().appending(path: name))
            }
            unlink(test.workspace.claimed.appending(path: "\(id)__job.yaml").path)
            try bytes.write(to: path)
        }
    }

    @Test func aForgottenClaimIsNamed() async throws {
        let (test, _) = try await workspace()
        // No daemon: it waits for one.
        let name = "\(ULID())__late.yaml"
        try Data("name: late\n".utf8).write(to: test.workspace.claimed.appending(path: name))
        #expect(try violations(test) == [])
        // One that has long run and has not taken it up.
        let lock = try DaemonLock(test.workspace)
        try lock.write(DaemonLock.Note(pid: getpid(), startedAt: Date.distantFuture, isWatching: true))
        #expect(try violations(test) == [], "it may still be at it")
        var later = Invariants(test.workspace)
        later.now = Date(timeIntervalSinceNow: 120)
        #expect(try later.violations().map(\.invariant) == [.claims])
        withExtendedLifetime(lock) {}
    }
}
