import Foundation
import GRDB
import Glibc
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

@Suite struct InboxTests {
    /// Scans until nothing lies in the inbox or in `claimed` that could be taken.
    private func drain(_ test: TestWorkspace, _ configuration: OrchestrationConfiguration, _ queue: JobQueue)
        async throws
    {
        var inbox = Inbox(configuration, queue)
        try await eventually("inbox is empty") {
            _ = try inbox.scan(movedIn: [])
            return try InboxEntry.list(test.workspace).allSatisfy { $0.status != .waiting }
                && test.files(test.workspace.claimed, ending: ".yaml").isEmpty
        }
    }

    private func drop(_ test: TestWorkspace, _ name: String, _ text: String) throws {
        let url = test.workspace.inbox.appending(path: name)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    @Test func goodAndBadFilesEachGetTheirAnswer() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        for i in 0..<5 {
            try drop(test, "good\(i).yaml", "name: good\(i)\n")
            try drop(test, "bad\(i).yaml", "name: bad\(i)\nlearning_rte: 3\n")
        }
        try drop(test, "empty.yml", "")
        try drop(test, "huge.json", String(repeating: "x", count: 4000))
        try drop(test, ".hidden.yaml", "name: no\n")
        try drop(test, "notes.txt", "name: no\n")
        let outside = test.root("outside.yaml")
        try Data("name: linked\n".utf8).write(to: outside)
        #expect(symlink(outside.path, test.workspace.inbox.appending(path: "symlink.yaml").path) == 0)
        #expect(link(outside.path, test.workspace.inbox.appending(path: "hardlink.yaml").path) == 0)
        #expect(mkfifo(test.workspace.inbox.appending(path: "pipe.yaml").path, 0o600) == 0)
        var configuration = test.configuration()
        configuration.maximumManifestBytes = 2000
        try await drain(test, configuration, queue)

        #expect(try queue.list().map(\.name).sorted() == (0..<5).map { "good\($0)" })
        #expect(test.files(test.workspace.accepted, ending: ".yaml").count == 5)
        #expect(test.files(test.workspace.accepted, ending: ".receipt.json").count == 5)
        let rejected = test.files(test.workspace.rejected).filter { $0.contains("__") && !$0.contains(".error.") }
        #expect(rejected.count == 10)
        #expect(test.files(test.workspace.rejected, ending: ".error.txt").count == 10)
        // Each report is the object `validate --json` prints, and text that names the problem.
        for path in test.files(test.workspace.rejected, ending: ".error.json") {
            let data = try Data(contentsOf: test.workspace.rejected.appending(path: path))
            let report = try JSONDecoder().decode(JSONValue.self, from: data)
            #expect(report["schema"] == .integer(1))
            #expect(report["valid"] == .bool(false))
        }
        let bad = try #require(test.files(test.workspace.rejected, ending: "bad0.yaml.error.txt").first)
        let text = try String(contentsOf: test.workspace.rejected.appending(path: bad), encoding: .utf8)
        #expect(text.contains("bad0.yaml was not accepted") && text.contains("unknown key learning_rte"))
        // What was dropped is kept byte for byte.
        let kept = try #require(test.files(test.workspace.rejected, ending: "bad0.yaml").first)
        #expect(
            try Data(contentsOf: test.workspace.rejected.appending(path: kept))
                == Data("name: bad0\nlearning_rte: 3\n".utf8))
        // What is no manifest stays, with a reason.
        let left = try InboxEntry.list(test.workspace)
        #expect(
            left.first { $0.path == "notes.txt" }?.status
                == .refused(reason: "the name does not end in .yaml, .yml or .json"))
        #expect(left.first { $0.path == ".hidden.yaml" }?.status == .ignored)
        #expect(try WorkspaceStatus(of: test.workspace, queue: queue).rejectedSinceYesterday == 10)
        // The link's target was not touched.
        #expect(try String(contentsOf: outside, encoding: .utf8) == "name: linked\n")
    }

    @Test func aSubmittedNameGivesTheJobItsIdAndAFolderItsTenant() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: a\n", tenant: "acme")
        try await drain(test, test.configuration(), queue)
        let job = try #require(try queue.list().first)
        #expect(job.id == id)
        #expect(job.tenant == "acme")
        #expect(try queue.verdict(of: id) == .accepted(job: id))
        // The same file dropped again is a new drop: it gets an id of its own.
        let filed = try #require(test.files(test.workspace.accepted, ending: ".yaml").first)
        try FileManager.default.copyItem(
            at: test.workspace.accepted.appending(path: filed),
            to: test.workspace.inbox.appending(path: "acme/\(id)__job.yaml"))
        try await drain(test, test.configuration(), queue)
        #expect(test.files(test.workspace.accepted, ending: ".yaml").count == 2)
        #expect(try queue.list().count == 1, "an equal manifest that waits is coalesced")
    }

    @Test func aFileThatGrowsIsNotTakenBeforeItSettles() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        var inbox = Inbox(test.configuration(), queue)
        try drop(test, "slow.yaml", "name: slow\n")
        let handle = try FileHandle(forWritingTo: test.workspace.inbox.appending(path: "slow.yaml"))
        try handle.seekToEnd()
        for seed in 0..<8 {
            #expect(try inbox.scan(movedIn: []) != nil)
            #expect(try queue.list().isEmpty)
            try handle.write(contentsOf: Data("seed: \(seed)\n".utf8))
            try await Task.sleep(for: .milliseconds(50))
        }
        try handle.close()
        try await drain(test, test.configuration(), queue)
        #expect(try queue.show(queue.list()[0].id).manifest.train.seed == 7)
        // One that was renamed in is whole at once, and the event says so.
        try drop(test, ".renamed.tmp", "name: renamed\n")
        try FileManager.default.moveItem(
            at: test.workspace.inbox.appending(path: ".renamed.tmp"),
            to: test.workspace.inbox.appending(path: "renamed.yaml"))
        _ = try inbox.scan(movedIn: [InboxEntry.path(test.workspace.inbox) + "/renamed.yaml"])
        #expect(try queue.list().map(\.name) == ["slow", "renamed"])
    }

    @Test func aFileThatEndsInTheMiddleGetsMoreTime() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        var configuration = test.configuration()
        configuration.settle = 0.05
        configuration.truncationPatience = 3600
        var inbox = Inbox(configuration, queue)
        try drop(test, "slow.yaml", "name: \"slow\nhalf")
        for _ in 0..<5 {
            _ = try inbox.scan(movedIn: [])
            try await Task.sleep(for: .milliseconds(40))
        }
        #expect(test.files(test.workspace.inbox, ending: "slow.yaml").count == 1)
        #expect(test.files(test.workspace.claimed).isEmpty)
        // When nobody goes on with it for long enough, it is judged as it is.
        configuration.truncationPatience = 0
        try await drain(test, configuration, queue)
        #expect(test.files(test.workspace.rejected, ending: "slow.yaml").count == 1)
    }

    @Test func anEndMarkerIsWaitedForWhereItIsAskedFor() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        var configuration = test.configuration()
        configuration.requiresEndMarker = true
        configuration.settle = 0.01
        var inbox = Inbox(configuration, queue)
        try drop(test, "marked.yaml", "name: marked\n")
        for _ in 0..<4 {
            _ = try inbox.scan(movedIn: [])
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(test.files(test.workspace.inbox, ending: "marked.yaml").count == 1)
        try drop(test, "marked.yaml", "name: marked\n...\n\n")
        try await drain(test, configuration, queue)
        #expect(test.files(test.workspace.inbox, ending: "marked.yaml").isEmpty)
    }

    private struct Stopped: Error {}
    private static let steps: [Failpoint] = [
        .intakeClaimed, .intakeClaimFlushed, .intakeRead, .intakeJudged, .queueCommitting, .queueCommitted,
        .intakeRecorded, .fileWritten, .fileRenamed, .intakeReported, .intakeMoved, .intakeFiled,
    ]

    @Test(arguments: steps, [true, false])
    func aFailureAfterAnyStepLosesAndDoublesNothing(_ step: Failpoint, _ isGood: Bool) async throws {
        let test = try TestWorkspace()
        let id = try test.submit(isGood ? "name: a\n" : "name: a\nnonsense: 1\n")
        let hits = Mutex(0)
        do {
            let queue = try test.queue()
            var inbox = Inbox(test.configuration(), queue)
            try Failpoint.withHandler({ point in
                guard point == step else { return }
                hits.withLock { $0 += 1 }
                throw Stopped()
            }) {
                _ = try inbox.scan(movedIn: [])
            }
            try queue.close()
        }
        #expect(hits.withLock { $0 } > 0)
        let queue = try test.queue()
        try await drain(test, test.configuration(), queue)
        #expect(try queue.list().map(\.id) == (isGood ? [id] : []))
        let folder = isGood ? test.workspace.accepted : test.workspace.rejected
        #expect(test.files(folder, ending: "\(id)__job.yaml").count == 1)
        #expect(test.files(folder, ending: isGood ? ".receipt.json" : ".error.txt").count == 1)
        #expect(test.files(test.workspace.claimed, ending: ".yaml").isEmpty)
        #expect(try queue.unfiledIntake().isEmpty)
        #expect(try queue.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM intake") } == 1)
        #expect(try queue.integrityProblems() == [])
    }

    @Test func aClaimedFileThatSomeoneRemovedIsRestored() async throws {
        let test = try TestWorkspace()
        let id = try test.submit("name: a\n")
        let queue = try test.queue()
        var inbox = Inbox(test.configuration(), queue)
        try Failpoint.withHandler({ if $0 == .intakeRecorded || $0 == .intakeReported { throw Stopped() } }) {
            _ = try inbox.scan(movedIn: [])
        }
        try FileManager.default.removeItem(at: test.workspace.claimed.appending(path: "\(id)__job.yaml"))
        try await drain(test, test.configuration(), queue)
        let filed = try #require(test.files(test.workspace.accepted, ending: "__job.yaml").first)
        #expect(try Data(contentsOf: test.workspace.accepted.appending(path: filed)) == Data("name: a\n".utf8))
    }

    @Test func aFullDiskPausesTheIntakeAndItResumesByItself() async throws {
        let test = try TestWorkspace()
        try test.submit("name: a\n")
        let queue = try test.queue()
        var configuration = test.configuration()
        let free = Mutex<Int64>(0)
        configuration.freeBytes = { _ in free.withLock { $0 } }
        var inbox = Inbox(configuration, queue)
        _ = try inbox.scan(movedIn: [])
        #expect(inbox.pausedReason?.contains("disk full") == true)
        #expect(test.files(test.workspace.inbox, ending: "__job.yaml").count == 1, "the inbox is left as it is")
        // Room by the count, but the write fails: claimed, not recorded, paused.
        free.withLock { $0 = .max }
        try Failpoint.withHandler({
            if $0 == .intakeJudged { throw OrchestrationError(system: "write", "x", ENOSPC) }
        }) {
            _ = try inbox.scan(movedIn: [])
        }
        #expect(inbox.pausedReason?.contains("No space left") == true)
        #expect(try queue.list().isEmpty)
        _ = try inbox.scan(movedIn: [])
        #expect(inbox.pausedReason == nil)
        #expect(try queue.list().count == 1)
    }

    @Test func aRefusalByTheQueueIsAReport() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        try test.submit("name: a\n")
        try await drain(test, test.configuration(), queue)
        try test.submit("name: a\nseed: 5\nconflict: reject\n", name: "second.yaml")
        try await drain(test, test.configuration(), queue)
        let report = try #require(test.files(test.workspace.rejected, ending: "second.yaml.error.json").first)
        let value = try JSONDecoder().decode(
            JSONValue.self, from: Data(contentsOf: test.workspace.rejected.appending(path: report)))
        guard case .array(let findings) = value["findings"] else { throw NeverHappened(what: "findings") }
        #expect(findings.first?["code"] == .string("concurrency_conflict"))
        #expect(findings.first?["pointer"] == .string("/run/concurrency"))
    }
}

@Suite struct WatchEventTests {
    @Test func linesAreReadStrictly() {
        #expect(WatchEvent("00000080 in%2Fa%20b%0Ac.yaml")?.path == "in/a b\nc.yaml")
        #expect(WatchEvent("00000080 x")?.isMovedIn == true)
        #expect(WatchEvent("00000100 x")?.isMovedIn == false)
        #expect(WatchEvent("00004000 ")?.isEndOfWatching == true)
        #expect(WatchEvent("00000008 x")?.isEndOfWatching == false)
        #expect(WatchEvent("rubbish") == nil)
        #expect(WatchEvent("zzzzzzzz a") == nil)
        #expect(WatchEvent("00000080 %ZZ") == nil)
    }
}
