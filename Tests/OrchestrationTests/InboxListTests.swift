import Foundation
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// Every file that waits, is ignored or was rejected has a reason.
@Suite struct InboxListTests {
    private let daemon = DaemonLock.Note(pid: 1, startedAt: Date(), isWatching: true)

    private func reason(
        _ test: TestWorkspace, _ path: String, _ settings: WorkspaceSettings.Inbox, _ daemon: DaemonLock.Note?
    ) throws -> String {
        let entries = try InboxEntry.list(test.workspace) + InboxEntry.claimed(test.workspace)
        return try #require(entries.first { $0.path == path }).reason(in: test.workspace, settings, daemon: daemon)
    }

    private func drop(_ test: TestWorkspace, _ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: test.workspace.inbox.appending(path: name))
    }

    @Test func whatWaitsSaysForWhat() throws {
        let test = try TestWorkspace()
        var settings = WorkspaceSettings.Inbox()
        try drop(test, "plain.yaml", "name: a\n")
        try drop(test, "half.yaml", "name: \"a")
        settings.settleSeconds = 3600
        #expect(try reason(test, "plain.yaml", settings, nil).contains("lorajobs daemon"))
        #expect(try reason(test, "plain.yaml", settings, daemon) == "until it has not changed for 1h")
        settings.settleSeconds = 0
        #expect(try reason(test, "plain.yaml", settings, daemon) == "about to be taken")
        #expect(try reason(test, "half.yaml", settings, daemon).hasPrefix("it ends in the middle of something"))
        settings.requireEndMarker = true
        #expect(try reason(test, "plain.yaml", settings, daemon).contains("\"...\""))
        var paused = daemon
        paused.intakePaused = "disk full"
        #expect(try reason(test, "plain.yaml", settings, paused) == "the intake is paused: disk full")
        try drop(test, "\(ULID())__x.yaml", "name: a\n")
        let submitted = try #require(try InboxEntry.list(test.workspace).first { $0.path.hasSuffix("__x.yaml") })
        #expect(submitted.reason(in: test.workspace, settings, daemon: daemon) == "about to be taken")
        #expect(submitted.age != nil)
    }

    @Test func whatIsRefusedSaysWhy() throws {
        let test = try TestWorkspace()
        let settings = WorkspaceSettings.Inbox()
        let names = [
            "notes.txt": ".yaml", "-a.yaml": "letter or a digit", "a\nb.yaml": "characters", "ä.yaml": "characters",
            String(repeating: "x", count: 201) + ".yaml": "longer than 200",
        ]
        for (name, _) in names { try drop(test, name, "name: a\n") }
        try drop(test, "x.yaml~", "")
        for name in ["my tenant", "dir.yaml"] {
            #expect(mkdir(test.workspace.inbox.appending(path: name).path, 0o755) == 0)
        }
        for (name, words) in names {
            #expect(try reason(test, name, settings, daemon).contains(words), "\(name)")
        }
        #expect(try reason(test, "x.yaml~", settings, daemon) == "a temporary file")
        #expect(try reason(test, "my tenant", settings, daemon).contains("cannot be a tenant's"))
        #expect(try reason(test, "dir.yaml", settings, daemon).contains("folder"))
        try Data().write(to: test.workspace.claimed.appending(path: "mine.txt"))
        #expect(try reason(test, "mine.txt", settings, daemon).contains("not the daemon's"))
        try Data().write(to: test.workspace.claimed.appending(path: "\(ULID())__a.yaml"))
        #expect(try InboxEntry.claimed(test.workspace).contains { $0.status == .claimed })
        // None of it is ever touched.
        let queue = try test.queue()
        var inbox = Inbox(test.configuration(), queue)
        let before = test.files(test.workspace.inbox)
        _ = try inbox.scan(movedIn: Set(before))
        #expect(test.files(test.workspace.inbox) == before)
    }

    @Test func rejectionsAreListedAndKnowTheirAnswers() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        var inbox = Inbox(test.configuration(), queue)
        let first = try test.submit("name: a\nnonsense: 1\n", tenant: "acme")
        _ = try inbox.scan(movedIn: [])
        let second = try test.submit("name: b\nother: 1\n")
        _ = try inbox.scan(movedIn: [])
        #expect(try queue.rejections().map(\.id) == [first, second])
        #expect(try queue.rejections(limit: 1).map(\.id) == [second])
        #expect(try queue.rejections(since: Date(timeIntervalSinceNow: 60)).isEmpty)
        let rejection = try #require(try queue.rejections().first)
        #expect(rejection.tenant == "acme" && rejection.name == "job.yaml" && !rejection.wasDroppedAgain)
        #expect(rejection.report.findings.first?.message == "unknown key nonsense")
        #expect(rejection.path?.hasSuffix("\(first)__job.yaml") == true)
        #expect(try queue.rejected(String(first.lowercased())).bytes == Data("name: a\nnonsense: 1\n".utf8))
        #expect(throws: OrchestrationError.self) { try queue.rejected("01") }
        #expect(throws: OrchestrationError.self) { try queue.rejected("") }
        #expect(throws: OrchestrationError.self) { try queue.rejected("ZZZ") }
        _ = try test.submit("name: a\nnonsense: 1\n", tenant: "acme")
        _ = try inbox.scan(movedIn: [])
        #expect(try queue.rejections().map(\.wasDroppedAgain) == [true, false, false])
    }
}
