import Artifacts
import Foundation
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

private let untilGo = "while [ ! -f \"$root/go\" ]; do sleep 0.05; done\n"

@Suite struct DaemonTests {
    private func go(_ test: TestWorkspace) throws { try Data().write(to: test.root("go")) }

    @Test func aJobRunsThroughAllItsStages() async throws {
        let test = try TestWorkspace()
        let id = try test.submit("name: tone\nmerge: yes\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded && end.reason == nil && end.progress == 1)
        #expect(end.adapter == "tone:1")
        let detail = try test.queue().show(id)
        #expect(detail.stages.map(\.state) == [.succeeded, .succeeded, .succeeded, .succeeded])
        #expect(test.started() == ["tokenize", "train", "merge", "package"])
        #expect(try test.versions == [1])
        // Each stage gets the outputs of all it needs, directly or not, and the inputs it declares.
        let package = try #require(detail.stages.last?.attempts.first).directory.readRequest()
        #expect(Set(package.inputs.keys) == ["tokenize", "train", "merge"])
        #expect(package.data.isEmpty && package.base.isEmpty)
        for path in package.inputs.values { #expect(FileManager.default.fileExists(atPath: path)) }
        let tokenize = try detail.stages[0].attempts[0].directory.readRequest()
        #expect(tokenize.data["train"]?.map(\.length) == [13])
        #expect(tokenize.base.map { URL(filePath: $0.path).lastPathComponent } == ["config.json", "tokenizer.json"])
        let train = detail.stages[1].attempts[0]
        #expect(try train.directory.readRequest().base.count == 2)
        #expect(train.peakRSSBytes == 1024 && train.cpuSeconds == 0.5)
        #expect(detail.events.map(\.kind).prefix(3) == ["intake", "created", "started"])
        #expect(detail.events.last?.kind == "succeeded")
    }

    @Test func anUnchangedSecondRunTrainsNothing() async throws {
        let test = try TestWorkspace()
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.end(of: test.submit("name: tone\n"))
            let second = try await test.end(of: test.submit("name: tone\npriority: 3\n"))
            #expect(second.state == .succeeded && second.reason == "unchanged" && second.adapter == "tone:1")
            #expect(test.started() == ["tokenize", "train", "package"])
            #expect(try test.versions == [1])
            // Another seed trains again, on the tokens there are.
            let third = try await test.end(of: test.submit("name: tone\nseed: 7\n"))
            #expect(third.reason == nil && third.adapter == "tone:2")
            #expect(test.started().dropFirst(3) == ["train", "package"])
            // Other data is other work; the same bytes under another name are not.
            try FileManager.default.moveItem(at: test.root("data/a.jsonl"), to: test.root("data/b.jsonl"))
            #expect(try await test.end(of: test.submit("name: tone\n")).reason == "unchanged")
            try Data("{\"text\":\"new\"}\n".utf8).write(to: test.root("data/c.jsonl"))
            #expect(try await test.end(of: test.submit("name: tone\n")).adapter == "tone:3")
        }
    }

    @Test func aVersionThatIsGoneIsMadeAgainOnce() async throws {
        let test = try TestWorkspace()
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.end(of: test.submit("name: tone\n"))
            let version = test.workspace.artifacts.appending(path: "adapters/tone/1")
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: version.path)
            try FileManager.default.removeItem(at: version)
            let again = try await test.end(of: test.submit("name: tone\n"))
            #expect(again.reason == nil && again.adapter == "tone:2")
            #expect(test.started().dropFirst(3) == ["package"])
            let third = try await test.end(of: test.submit("name: tone\n"))
            #expect(third.reason == "unchanged" && third.adapter == "tone:2")
        }
    }

    @Test func aKilledWorkerIsTriedAgainFromItsCheckpoint() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train", "if [ $attempt = 1 ]; then mkdir checkpoint; echo 1 > checkpoint/state; kill -9 $$; fi\n")
        let id = try test.submit("name: tone\nretries: 1\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.crashed, .succeeded])
        #expect(attempts[0].signal == SIGKILL)
        #expect(attempts[1].resumedFrom == attempts[0].directory.checkpoint.path)
        let told = try String(contentsOf: attempts[1].directory.url.appending(path: "resumed.txt"), encoding: .utf8)
        #expect(told.trimmingCharacters(in: .whitespacesAndNewlines) == attempts[0].directory.checkpoint.path)
        #expect(try test.versions == [1])
    }

    @Test(arguments: [("exit 66", "poison"), ("fail 75 busy come_back", "busy"), ("code=0; exit 0", "poison")])
    func retriesEnd(_ behaviour: String, _ code: String) async throws {
        let test = try TestWorkspace()
        try test.behave("train", behaviour)
        let id = try test.submit("name: tone\nretries: 2\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed)
        #expect(end.reason?.hasPrefix("train: \(code): ") == true, "\(end.reason ?? "")")
        let stages = try test.queue().show(id).stages
        #expect(stages[1].attempts.count == 3)
        #expect(stages.map(\.state) == [.succeeded, .failed, .cancelled, .cancelled])
        #expect(!FileManager.default.fileExists(atPath: test.workspace.artifacts.appending(path: "adapters/tone").path))
    }

    @Test func wrongInputIsNotTriedAgain() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "fail 65 non_finite_loss loss_is_nan\n")
        let id = try test.submit("name: tone\n")
        let gone = try test.submit("name: other\nseed: 1\nafter: \(id)\n", name: "other.yaml")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            #expect(try await test.end(of: id).reason == "train: non_finite_loss: loss_is_nan [permanent]")
            #expect(try await test.end(of: gone).state == .skipped)
        }
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.exitCode) == [65])
        #expect(attempts[0].failure == StageFailure(code: "non_finite_loss", message: "loss_is_nan"))
    }

    @Test func inputsThatAreMissingFailTheJob() async throws {
        let test = try TestWorkspace()
        try FileManager.default.removeItem(at: test.root("data/a.jsonl"))
        let id = try test.submit("name: tone\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed)
        #expect(end.reason?.contains("no file matches") == true, "\(end.reason ?? "")")
        #expect(test.started().isEmpty)
    }

    @Test func aStoppedWorkerGoesOnWithoutACharge() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train", "if [ $attempt -le 2 ]; then mkdir checkpoint; touch checkpoint/$attempt; exit 143; fi\n")
        let id = try test.submit("name: tone\nretries: 0\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.preempted, .preempted, .succeeded])
        #expect(attempts[2].resumedFrom == attempts[1].directory.checkpoint.path)
    }

    @Test func aTimeoutKillsTheWholeGroup() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train",
            "trap '' TERM\nmkdir checkpoint; touch checkpoint/x\n(trap '' TERM; sleep 600) &\necho $! > \"$root/grandchild\"\nwhile true; do sleep 0.1; done\n"
        )
        let id = try test.submit("name: tone\ntimeout: 0.3\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed)
        #expect(end.reason?.hasPrefix("train: timeout: ") == true)
        let attempt = try #require(try test.queue().show(id).stages[1].attempts.first)
        #expect(attempt.state == .timeout)
        let text = try String(contentsOf: test.root("grandchild"), encoding: .utf8)
        let grandchild = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
        try await eventually("the grandchild is gone") { WorkerProcess.startTime(grandchild) == nil }
        let pid = try #require(attempt.pid)
        #expect(WorkerProcess.startTime(pid) == nil)

        // A retry by hand is a new job that goes on from there, on the same inputs.
        try test.behave("train", "")
        let again = try test.queue().retry(id)
        let success = try await withDaemon(test.configuration()) { _ in try await test.end(of: again) }
        #expect(success.state == .succeeded && success.retryOf == id)
        let stages = try test.queue().show(again).stages
        #expect(stages[0].state == .cached)
        #expect(stages[1].attempts.map(\.resumedFrom) == [attempt.directory.checkpoint.path])
    }

    @Test func aFreshRetryUsesNoCheckpoint() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "mkdir checkpoint; touch checkpoint/x; fail 65 wrong wrong\n")
        let id = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        try test.behave("train", "")
        let again = try test.queue().retry(id, fresh: true)
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: again) }
        #expect(try test.queue().show(again).stages[1].attempts.map(\.resumedFrom) == [nil])
    }

    @Test func aFreshRetryRunsWhatWasNeverChanged() async throws {
        let test = try TestWorkspace()
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.end(of: id)
            let plain = try await test.end(of: test.queue().retry(id))
            #expect(plain.state == .succeeded && plain.reason == "unchanged", "\(plain)")
            let again = try test.queue().retry(id, fresh: true)
            let end = try await test.end(of: again)
            #expect(end.state == .succeeded && end.reason == nil && end.adapter == "tone:2", "\(end)")
            let stages = try test.queue().show(again).stages
            #expect(stages.map(\.state) == [.succeeded, .succeeded, .skipped, .succeeded])
            #expect(stages[0].why == "asked for by retry --fresh")
        }
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func cancelStopsARunningJobAndStartsTheNext() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        let next = try test.submit("name: tone\nseed: 5\n", name: "next.yaml")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            let pid = try await test.runningPID(id, stage: "train")
            #expect(try test.status(id).stage == "train")
            try await eventually("the next one waits") {
                (try? test.status(next).reason) == "Concurrency(default/tone by \(id))"
            }
            #expect(try test.queue().cancel(id) == false)
            DaemonLock.poke(test.workspace)
            #expect(try await test.end(of: id).state == .cancelled)
            #expect(WorkerProcess.startTime(pid) == nil)
            try go(test)
            #expect(try await test.end(of: next).state == .succeeded)
        }
        let detail = try test.queue().show(id)
        #expect(detail.stages.map(\.state) == [.succeeded, .cancelled, .cancelled, .cancelled])
        #expect(detail.stages[1].attempts.map(\.state) == [.cancelled])
    }

    @Test func verbsWorkWithTheDaemonDown() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: tone\n")
        var inbox = Inbox(test.configuration(), queue)
        _ = try inbox.scan(movedIn: [])
        #expect(try DaemonLock.holder(of: test.workspace) == nil)
        try queue.hold(id)
        try queue.prioritize(id, to: 7)
        #expect(try test.status(id).state == .held)
        #expect(try test.status(id).priority == 7)
        #expect(try queue.cancel(id) == true)
        let status = try WorkspaceStatus(of: test.workspace, queue: JobQueue.openReadOnly(test.workspace.database))
        #expect(status.daemon == nil && status.jobCounts == [.cancelled: 1] && status.inboxBacklog == 0)
    }

    @Test func progressIsReadFromTheWorker() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train",
            "echo '{\"time\":1,\"fraction\":0.25,\"etaSeconds\":60}' >> progress.jsonl\nprintf '{\"time\":2,\"fra' >> progress.jsonl\n"
                + untilGo)
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try await eventually("progress") { (try? test.status(id).progress) == 0.25 }
            #expect(try test.status(id).eta == 0)
            #expect(try WorkspaceStatus(of: test.workspace, queue: test.queue()).daemon?.pid == getpid())
            try go(test)
            _ = try await test.end(of: id)
        }
    }

    @Test func aSecondDaemonIsRefused() async throws {
        let test = try TestWorkspace()
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try await eventually("the first one runs") { try DaemonLock.holder(of: test.workspace) != nil }
            let error = await #expect(throws: OrchestrationError.self) { try await Daemon(test.configuration()).run() }
            #expect(error?.code == .busy)
            #expect(error?.description.contains("\(getpid())") == true)
            let foreground = await #expect(throws: OrchestrationError.self) {
                try await ForegroundRun(test.configuration()).run(Data("name: a\n".utf8), name: "a.yaml")
            }
            #expect(foreground?.code == .busy)
        }
    }

    @Test func oneJobRunsInTheForeground() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "if [ $attempt = 1 ]; then exit 75; fi\n")
        let other = try test.submit("name: waits\n")
        let end = try await ForegroundRun(test.configuration()).run(Data("name: tone\n".utf8), name: "my job.yaml")
        #expect(end.state == .succeeded && end.adapter == "tone:1")
        #expect(test.files(test.workspace.accepted, ending: "\(end.id)__my_job.yaml").count == 1)
        #expect(try test.queue().list().map(\.id) == [end.id])
        #expect(try InboxEntry.list(test.workspace).map(\.path) == ["\(other)__job.yaml"])
        await #expect(throws: InvalidFile.self) {
            try await ForegroundRun(test.configuration()).run(Data("nonsense".utf8), name: "a.yaml")
        }
    }

    @Test func whatIsAppendedAfterTheStartBelongsToTheNextRun() async throws {
        let test = try TestWorkspace()
        try test.behave("tokenize", "if [ $attempt = 1 ]; then echo '{}' >> \"$root/data/a.jsonl\"; exit 75; fi\n")
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            _ = try await test.end(of: id)
            let attempts = try test.queue().show(id).stages[0].attempts
            let pinned = try attempts.map { try $0.directory.readRequest().data }
            #expect(pinned.count == 2 && pinned[0] == pinned[1])
            #expect(pinned[0]["train"]?.first?.length == 13)
            #expect(try await test.end(of: test.submit("name: tone\n")).adapter == "tone:2")
        }
    }

    @Test func aRetryAfterChangedInputsReadsWhatIsThereNow() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "fail 65 inputs_changed a_file_changed\n")
        let id = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        try Data("{\"text\":\"changed\"}\n".utf8).write(to: test.root("data/a.jsonl"))
        try test.behave("train", "")
        let again = try test.queue().retry(id)
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: again) }
        #expect(end.state == .succeeded)
        let request = try test.queue().show(again).stages[0].attempts[0].directory.readRequest()
        #expect(request.data["train"]?.first?.length == 19)
    }

    @Test func aRealManifestAndPipelineBecomeAJob() async throws {
        let test = try TestWorkspace()
        var descriptors = TestWorkspace.descriptors
        descriptors.append(
            StageDescriptor(
                kind: "evaluate", version: 1, manifestKeys: ["evaluate"], inputs: [.base], requires: ["train"]))
        let kinds = Dictionary(uniqueKeysWithValues: descriptors.map { ($0.kind, $0) })
        let resolver = ManifestResolver(workspace: test.workspace, settings: WorkspaceSettings(), kinds: kinds)
        var configuration = OrchestrationConfiguration(
            resolver, stageCommand: [test.root("stage.sh").path, "stage"], numericsVersion: 1,
            logger: test.configuration().logger)
        #expect(configuration.settle == 2)
        configuration.pollInterval = 0.05
        configuration.watcher = nil
        let id = try test.submit(
            """
            name: tone
            base: base
            data: data/*.jsonl
            train: {epochs: 1}
            run: {retries: 5, timeout: 1h}

            """)
        let bad = try test.submit("name: tone\nbase: base\ndata: data/*.jsonl\nlora_r: 8\n", name: "bad.yaml")
        let end = try await withDaemon(configuration) { _ in
            try await eventually("rejected") { (try? test.queue().verdict(of: bad)) != nil }
            return try await test.end(of: id)
        }
        #expect(end.state == .succeeded, "\(end.reason ?? "")")
        let detail = try test.queue().show(id)
        #expect(detail.stages.map(\.name) == ["tokenize", "train", "evaluate", "merge", "package"])
        #expect(detail.stages.map(\.state) == [.succeeded, .succeeded, .succeeded, .skipped, .succeeded])
        let origins = try JSONDecoder().decode([String: Origin].self, from: detail.origins)
        #expect(origins["run.retries"] == .manifest && origins["adapter.rank"] == .default)
        #expect(test.files(test.workspace.rejected, ending: "bad.yaml.error.txt").count == 1)
    }

    @Test func signalsEndTheDaemonAndNotTheWorker() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        let root = test.workspace.root.path
        await #expect(processExitsWith: .exitCode(7)) { [root = root as String, id = id as String] in
            let test = TestWorkspace(existing: root)
            let daemon = Daemon(test.configuration())
            let task = Task { try await daemon.runUntilSignalled() }
            _ = try await test.runningPID(id, stage: "train")
            kill(getpid(), SIGTERM)
            try await task.value
            exit(7)
        }
        let pid = try await test.runningPID(id, stage: "train")
        #expect(WorkerProcess.startTime(pid) != nil)
        // The worker does not ignore the signal that its daemon caught.
        kill(pid, SIGTERM)
        try await eventually("it ends") { WorkerProcess.startTime(pid) == nil }
        try go(test)
    }
}
