import Foundation
import GRDB
import Glibc
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// Many files at once: all of them taken, each by itself, and between two batches there is room for other work.
@Suite struct IntakeBatchTests {
    /// Drops a file as a careful producer does: written and synced beside the inbox, renamed, the folder synced.
    private func dropDurably(_ test: TestWorkspace, _ name: String, _ text: String) throws {
        let draft = test.root("Jobs/.draft").path
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        try #require(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
        try #require(fsync(descriptor) == 0)
        try #require(rename(draft, test.workspace.inbox.appending(path: name).path) == 0)
        try AtomicFile.syncFolder(InboxEntry.path(test.workspace.inbox))
    }

    /// Scans until nothing is left; the seconds it took.
    private func takeAll(
        _ configuration: OrchestrationConfiguration, _ queue: JobQueue, movedIn: Set<String> = []
    ) async throws -> Double {
        var inbox = Inbox(configuration, queue)
        let start = ContinuousClock.now
        var wait = try inbox.scan(movedIn: movedIn)
        while let seconds = wait {
            if seconds > 0 { try await Task.sleep(for: .seconds(seconds)) }
            wait = try inbox.scan(movedIn: [])
        }
        return (ContinuousClock.now - start) / .seconds(1)
    }

    @Test func aBurstIsTakenExactlyOnce() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let count = ProcessInfo.processInfo.environment["LORAJOBS_SOAK"] == nil ? 2000 : 20_000
        var names: Set<String> = []
        let start = ContinuousClock.now
        for i in 0..<count {
            let name = "burst\(i).yaml"
            // One in fifty is wrong.
            try dropDurably(test, name, i % 50 == 7 ? "name: b\(i)\nnonsense: 1\n" : "name: b\(i)\n")
            names.insert("\(InboxEntry.path(test.workspace.inbox))/\(name)")
        }
        let dropping = (ContinuousClock.now - start) / .seconds(1)
        let seconds = try await takeAll(test.configuration(), queue, movedIn: names)
        let rate = Double(count) / seconds
        print("intake: \(count) drops, dropped in \(dropping) s, taken in \(seconds) s: \(rate) a second")
        let (jobs, records, unfiled) = try queue.read { db in
            (
                try Int.fetchOne(db, sql: "SELECT count(DISTINCT name) FROM job"),
                try Int.fetchOne(db, sql: "SELECT count(*) FROM intake"),
                try Int.fetchOne(db, sql: "SELECT count(*) FROM intake WHERE filed_ms IS NULL")
            )
        }
        #expect(jobs == count - count / 50 && records == count && unfiled == 0)
        #expect(test.files(test.workspace.inbox).isEmpty && test.files(test.workspace.claimed).isEmpty)
        #expect(test.files(test.workspace.accepted, ending: ".yaml").count == count - count / 50)
        #expect(test.files(test.workspace.accepted, ending: ".receipt.json").count == count - count / 50)
        #expect(test.files(test.workspace.rejected, ending: ".error.json").count == count / 50)
        #expect(test.files(test.workspace.rejected, ending: ".tmp").isEmpty)
    }

    @Test func copiedFilesAreTakenTogetherToo() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        for i in 0..<600 {
            try Data("name: c\(i)\n".utf8).write(to: test.workspace.inbox.appending(path: "copy\(i).yaml"))
        }
        let seconds = try await takeAll(test.configuration(), queue)
        print("intake: 600 copies taken in \(seconds) s, the settling time of 0.2 s included")
        #expect(try queue.list(JobFilter()).count == 600)
    }

    @Test func oneBatchAtATimeAndEveryTenantInItsTurn() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        for i in 0..<20 { try test.submit("name: a\(i)\n", tenant: "alpha") }
        let late = try test.submit("name: z\n", tenant: "omega")
        var configuration = test.configuration()
        configuration.intakeBatch = 4
        var inbox = Inbox(configuration, queue)
        #expect(try inbox.scan(movedIn: []) == 0, "there is more")
        #expect(try queue.list().count == 4)
        #expect(try queue.verdict(of: late) == .accepted(job: late))
        for _ in 0..<4 { #expect(try inbox.scan(movedIn: []) == 0) }
        #expect(try inbox.scan(movedIn: []) == nil)
        #expect(try queue.list().count == 21)
    }

    @Test func aRefusalInABatchTakesNoOtherWithIt() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let first = try test.submit("name: a\n")
        let conflict = try test.submit("name: a\nseed: 2\nconflict: reject\n")
        // A rule of the database that the manifests of these tests do not check.
        let broken = try test.submit("name: b\npriority: 1000\n")
        let same = try test.submit("name: a\n")
        let last = try test.submit("name: c\nonce: k\n")
        let again = try test.submit("name: d\nonce: k\n")
        _ = try await takeAll(test.configuration(), queue)
        func code(_ id: String) throws -> String? {
            guard case .rejected(let report)? = try queue.verdict(of: id) else { return nil }
            return try ValidationReport(decoding: report).findings.first?.code.rawValue
        }
        #expect(try queue.verdict(of: first) == .accepted(job: first))
        #expect(try code(conflict) == "concurrency_conflict")
        #expect(try code(broken) == "refused_by_queue")
        #expect(try queue.verdict(of: same) == .coalesced(job: first))
        #expect(try queue.verdict(of: last) == .accepted(job: last))
        #expect(try queue.verdict(of: again) == .duplicate(job: last))
        #expect(try queue.list().count == 2)
        #expect(try queue.integrityProblems() == [])
        // The receipts of those that are no jobs of their own point at the one that does the work.
        for id in [same, again] {
            let path = try #require(test.files(test.workspace.accepted, ending: "\(id)__job.yaml.receipt.json").first)
            let receipt = try JSONDecoder().decode(
                JSONValue.self, from: Data(contentsOf: test.workspace.accepted.appending(path: path)))
            let job = id == same ? first : last
            #expect(receipt["verdict"] == .string(id == same ? "coalesced" : "duplicate"))
            #expect(receipt["jobs"] == .array([.object(["id": .string(job)])]))
        }
    }

    @Test(arguments: [Failpoint.intakeRead, .intakeReported, .intakeClaimed])
    func oneFilesTroubleIsItsOwn(_ point: Failpoint) async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        for i in 0..<5 { try test.submit("name: a\(i)\n") }
        var configuration = test.configuration()
        configuration.setback = 0.1
        var inbox = Inbox(configuration, queue)
        let hits = Mutex(0)
        try Failpoint.withHandler({
            let isThird =
                $0 == point
                && hits.withLock { hits in
                    hits += 1
                    return hits == 3
                }
            if isThird { throw OrchestrationError(system: "read", "x", EIO) }
        }) {
            _ = try inbox.scan(movedIn: [])
        }
        #expect(test.files(test.workspace.accepted, ending: "__job.yaml").count == 4)
        try await eventually("the fifth is taken") {
            _ = try inbox.scan(movedIn: [])
            return test.files(test.workspace.accepted, ending: "__job.yaml").count == 5
        }
        #expect(try queue.list().count == 5)
    }

    @Test func anIdThatIsInUseIsNotTakenTwice() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: a\n", tenant: "alpha")
        // Another tenant guesses the id, in the same batch.
        let folder = test.workspace.inbox.appending(path: "beta")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data("name: b\n".utf8).write(to: folder.appending(path: "\(id)__job.yaml"))
        _ = try await takeAll(test.configuration(), queue)
        let jobs = try queue.list()
        #expect(jobs.count == 2)
        #expect(jobs.first { $0.id == id }?.tenant == "alpha")
        #expect(jobs.contains { $0.tenant == "beta" && $0.name == "b" && $0.id != id })
    }

    @Test func theLongestNameIsFiled() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let good = String(repeating: "n", count: 200) + ".yaml"
        let bad = String(repeating: "m", count: 200) + ".yaml"
        try Data("name: a\n".utf8).write(to: test.workspace.inbox.appending(path: good))
        try Data("nonsense\n".utf8).write(to: test.workspace.inbox.appending(path: bad))
        _ = try await takeAll(test.configuration(), queue)
        #expect(test.files(test.workspace.accepted, ending: good + ".receipt.json").count == 1)
        #expect(test.files(test.workspace.rejected, ending: bad + ".error.json").count == 1)
        #expect(try queue.unfiledIntake().isEmpty)
    }

    @Test func aStrangersFileUnderTheSameNameIsKept() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: a\n")
        let day = Date().formatted(.iso8601.year().month().day())
        let folder = test.workspace.accepted.appending(path: day)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data("mine\n".utf8).write(to: folder.appending(path: "\(id)__job.yaml"))
        _ = try await takeAll(test.configuration(), queue)
        #expect(try Data(contentsOf: folder.appending(path: "\(id)__job.yaml")) == Data("name: a\n".utf8))
        let aside = try #require(test.files(folder, ending: ".aside").first)
        #expect(try Data(contentsOf: folder.appending(path: aside)) == Data("mine\n".utf8))
    }

    @Test func aReportMayBeReadByWhoMayReadTheManifest() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        for (name, mode) in [("open.yaml", mode_t(0o644)), ("closed.yaml", 0o600)] {
            let url = test.workspace.inbox.appending(path: name)
            try Data("nonsense\n".utf8).write(to: url)
            chmod(url.path, mode)
        }
        _ = try await takeAll(test.configuration(), queue)
        func mode(_ ending: String) throws -> mode_t {
            let path = try #require(test.files(test.workspace.rejected, ending: ending).first)
            var status = stat()
            try #require(lstat(test.workspace.rejected.appending(path: path).path, &status) == 0)
            return status.st_mode & 0o777
        }
        for ending in ["", ".error.txt", ".error.json"] {
            #expect(try mode("open.yaml" + ending) == 0o644)
            #expect(try mode("closed.yaml" + ending) == 0o600)
        }
    }

    @Test func whatAPersonPutsIntoClaimedIsLeftAlone() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: a\n")
        _ = try await takeAll(test.configuration(), queue)
        let stray = test.workspace.claimed.appending(path: "\(id)__job.yaml")
        try Data("name: b\n".utf8).write(to: stray)
        try Data().write(to: test.workspace.claimed.appending(path: "notes"))
        var configuration = test.configuration()
        configuration.intakeBatch = 1
        var inbox = Inbox(configuration, queue)
        _ = try inbox.scan(movedIn: [])
        let next = try test.submit("name: c\n")
        _ = try inbox.scan(movedIn: [])
        #expect(try queue.list().map(\.id).sorted() == [id, next].sorted())
        #expect(try Data(contentsOf: stray) == Data("name: b\n".utf8))
    }

    @Test func theDayIsThatOfTheReceipt() async throws {
        let test = try TestWorkspace()
        let midnight: Int64 = 1_772_409_600_000
        let time = Mutex(midnight - 1)
        let queue = try JobQueue.open(test.workspace.database, now: { time.withLock { $0 } })
        let id = try test.submit("name: a\n")
        var inbox = Inbox(test.configuration(), queue)
        try Failpoint.withHandler({ if $0 == .intakeReported { throw FailpointReached($0) } }) {
            _ = try inbox.scan(movedIn: [])
        }
        time.withLock { $0 = midnight + 5 }
        _ = try await takeAll(test.configuration(), queue)
        #expect(test.files(test.workspace.accepted, ending: "__job.yaml") == ["2026-03-01/\(id)__job.yaml"])
        #expect(test.files(test.workspace.accepted, ending: ".receipt.json").count == 1)
    }
}
