import Artifacts
import Foundation
import GRDB
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

private let untilGo = "while [ ! -f \"$root/go\" ]; do sleep 0.05; done\n"

/// Whose matter a failure is, and what follows.
@Suite struct FailureClassTests {
    private func go(_ test: TestWorkspace) throws { try Data().write(to: test.root("go")) }

    @Test func theSameCrashThreeTimesIsPoisonWithRetriesLeft() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "echo step 1$attempt at 0x7f$attempt >&2; kill -SEGV $$\n")
        let id = try test.submit("name: tone\nretries: 9\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed)
        let reason = try #require(end.reason)
        #expect(reason.hasPrefix("train: poison: crashed 3 times in the same way"), "\(reason)")
        #expect(reason.contains("[poison]") && reason.contains("signal 11"), "\(reason)")
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.failureClass) == [.user, .user, .poison])
    }

    @Test func differentCrashesUseUpTheRetries() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "exit 6$attempt\n")
        let id = try test.submit("name: tone\nretries: 3\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed && end.reason?.hasPrefix("train: crashed: ") == true, "\(end.reason ?? "")")
        #expect(try test.queue().show(id).stages[1].attempts.map(\.failureClass) == [.user, .user, .user, .user])
    }

    @Test func memoryThatRanOutIsTriedOnceWithHalfAndThenExplained() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "fail 75 out_of_memory the_system_refused_4096_KiB\n")
        let id = try test.submit("name: tone\nretries: 0\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed)
        let reason = try #require(end.reason)
        for word in ["train: out_of_memory: ", "MiB at most", "limit ", "data.max_length", "[oom]"] {
            #expect(reason.contains(word), "\(word): \(reason)")
        }
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.oom, .oom] && attempts.map(\.failureClass) == [.oom, .oom])
        #expect(try attempts.map { try $0.directory.readRequest().memoryHalvings } == [nil, 1])
    }

    @Test func aRefusedAllocationInTheLogIsMemory() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train",
            "if [ $attempt = 1 ]; then echo 'failed to allocate 65536 bytes of memory' >&2; kill -ABRT $$; fi\n")
        let id = try test.submit("name: tone\nretries: 0\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        #expect(try test.queue().show(id).stages[1].attempts.map(\.state) == [.oom, .succeeded])
    }

    /// With a real killer: a control group of version 1 or 2 with a limit, where this user may make one.
    @Test func theKernelsKillerIsRecognised() async throws {
        let test = try TestWorkspace()
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        let name = "lorajobs-test-\(getpid())"
        var limits: [String: String] = [:]
        var group: String?
        for root in roots where group == nil {
            let path = "\(root)/\(name)"
            guard mkdir(path, 0o755) == 0 else { continue }
            limits = ["memory.limit_in_bytes": "33554432", "memory.max": "33554432", "memory.swap.max": "0"]
            let written = limits.filter { file, value in
                access("\(path)/\(file)", W_OK) == 0
                    && (try? Data(value.utf8).write(to: URL(filePath: "\(path)/\(file)"))) != nil
            }
            if written.isEmpty { rmdir(path) } else { group = path }
        }
        guard let group else { return print("skipped: no memory control group can be made here") }
        defer { rmdir(group) }
        try test.behave(
            "train",
            """
            if [ $attempt = 1 ]; then
              echo $BASHPID > \(group)/cgroup.procs || exit 70
              sleep 0.2
              text=x
              while true; do text="$text$text"; done
            fi

            """)
        let id = try test.submit("name: tone\nretries: 0\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded, "\(end.reason ?? "")")
        let attempts = try test.queue().show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.oom, .succeeded])
        #expect(attempts[0].signal == SIGKILL)
        #expect(attempts[0].failure?.message.contains("ran out of memory") == true, "\(attempts[0])")
    }

    @Test func countersOfAControlGroupAreRead() throws {
        let folder = try TemporaryFolder()
        func write(_ text: String, _ path: String) throws {
            let url = folder.url.appending(path: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        try write("nr_free 5\noom_kill 7\n", "proc/vmstat")
        try write("MemTotal:       2048 kB\n", "proc/meminfo")
        try write("0::/batch/job\n", "proc/12/cgroup")
        try write("oom 1\noom_kill 2\n", "groups/batch/job/memory.events")
        try write("max\n", "groups/batch/job/memory.max")
        try write("1048576\n", "groups/batch/memory.max")
        let places = (folder.url.appending(path: "proc").path, folder.url.appending(path: "groups").path)
        var witness = MemoryWitness(proc: places.0, groups: places.1)
        #expect(witness.limit == 2_097_152)
        witness.look(at: 12)
        #expect(witness.limit == 1_048_576)
        var other = witness
        witness.look(at: 12, isLast: true)
        #expect(witness.evidence == nil)
        try write("oom 1\noom_kill 3\n", "groups/batch/job/memory.events")
        other.look(at: 12, isLast: true)
        #expect(other.evidence?.contains("/batch/job") == true)
        // Without a group: the machine's counter.
        var machine = MemoryWitness(proc: places.0, groups: places.1)
        machine.look(at: 13)
        try write("oom_kill 8\n", "proc/vmstat")
        machine.look(at: 13, isLast: true)
        #expect(machine.evidence?.contains("machine") == true)
    }

    @Test func aKilledWorkersUseIsKnown() async throws {
        let test = try TestWorkspace()
        try test.behave(
            "train", "for i in 1 2 3 4 5 6; do :; done; " + untilGo)
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            let pid = try await test.runningPID(id, stage: "train")
            try go(test)
            kill(-pid, SIGKILL)
            #expect(try await test.end(of: id).state == .succeeded)
        }
        let first = try #require(try test.queue().show(id).stages[1].attempts.first)
        guard first.state == .crashed else { return }
        #expect((first.peakRSSBytes ?? 0) > 0 && first.cpuSeconds != nil && first.failureClass == .infrastructure)
    }

    @Test func aTimeLimitIsCountedOnTheClockThatCannotBeSet() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\ntimeout: 1000\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        let queue = try test.queue()
        // The clock on the wall jumps by a day: nothing happens.
        try queue.write {
            try $0.execute(sql: "UPDATE attempt SET started_ms = started_ms - 86400000 WHERE ended_ms IS NULL")
        }
        try await withDaemon(test.configuration()) { _ async throws -> Void in
            try await eventually("adopted") { try DaemonLock.holder(of: test.workspace) != nil }
            try await Task.sleep(for: .milliseconds(300))
            #expect(try WorkerProcess.startTime(pid) != nil && test.status(id).state == .running)
        }
        // It began 2000 s ago: over, although another daemon had started it.
        try queue.write {
            try $0.execute(sql: "UPDATE attempt SET boot_seconds = boot_seconds - 2000 WHERE ended_ms IS NULL")
        }
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .failed && end.reason?.hasPrefix("train: timeout: ") == true, "\(end.reason ?? "")")
        #expect(try queue.show(id).stages[1].attempts[0].failureClass == .permanent)
    }

    @Test func afterARestartOfTheMachineAnAttemptIsLostAndNotOverdue() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "if [ $attempt = 1 ]; then \(untilGo) fi\n")
        let id = try test.submit("name: tone\ntimeout: 1000\nretries: 0\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        kill(-pid, SIGKILL)
        let queue = try test.queue()
        try queue.write {
            try $0.execute(
                sql: "UPDATE attempt SET boot_id = 'another', boot_seconds = boot_seconds - 5000 WHERE ended_ms IS NULL"
            )
        }
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        let attempts = try queue.show(id).stages[1].attempts
        #expect(attempts.map(\.state) == [.lost, .succeeded] && attempts[0].failureClass == .infrastructure)
    }

    @Test func aZombieThatWakesUpChangesNothing() async throws {
        let test = try TestWorkspace()
        try test.behave("package", "if [ $attempt = 1 ]; then \(untilGo) fi\n")
        let id = try test.submit("name: tone\n")
        let pid = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "package") }
        kill(-pid, SIGSTOP)
        // Given up: by a person, or by a daemon that had reason to.
        let queue = try test.queue()
        let given = try #require(try queue.drivenJob(id).live)
        try queue.finishAttempt(
            given, of: id, .interrupted(.lost, StageFailure(code: "lost", message: "given up"), pause: false),
            exitCode: nil, signal: nil, policy: RetryPolicy())
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded && end.adapter == "tone:1")
        try go(test)
        kill(-pid, SIGCONT)
        try await eventually("the zombie ends") { WorkerProcess.startTime(pid) == nil }
        #expect(try given.directory.readResult()?.attemptID == given.id, "it has written its result")
        // Whoever would finalise it now is refused before anything is published.
        let error = #expect(throws: OrchestrationError.self) { try queue.confirmLive(given) }
        #expect(error?.code == .wrongState)
        _ = try await withDaemon(test.configuration()) { _ in
            try await test.end(of: test.submit("name: other\nseed: 3\n", name: "other.yaml"))
        }
        #expect(try test.versions == [1])
        #expect(try queue.show(id).stages[3].attempts.map(\.state) == [.lost, .succeeded])
    }

    @Test func aDaemonThatWasReplacedPublishesNothing() async throws {
        let test = try TestWorkspace()
        try test.behave("train", untilGo)
        let id = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.runningPID(id, stage: "train") }
        let first = try test.queue().taken(by: 1, cores: 1)
        _ = try test.queue().taken(by: 2, cores: 1)
        let live = try #require(try first.drivenJob(id).live)
        let error = #expect(throws: OrchestrationError.self) { try first.confirmLive(live) }
        #expect(error?.code == .fenced)
        try go(test)
    }

    @Test func aResultOfAnotherAttemptIsNone() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "if [ $attempt = 1 ]; then id=someone-elses; fi\n")
        let id = try test.submit("name: tone\nretries: 1\n")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(end.state == .succeeded)
        #expect(try test.queue().show(id).stages[1].attempts.map(\.state) == [.crashed, .succeeded])
    }

    @Test func aRetryFromAStageTakesWhatIsBeforeAndRunsTheRest() async throws {
        let test = try TestWorkspace()
        let id = try test.submit("name: tone\n")
        let queue = try test.queue()
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: id) }
        #expect(throws: OrchestrationError.self) { try queue.retry(id, from: "nonsense") }
        let again = try queue.retry(id, from: "train")
        let end = try await withDaemon(test.configuration()) { _ in try await test.end(of: again) }
        #expect(end.state == .succeeded && end.retryOf == id && end.adapter == "tone:2")
        #expect(test.started() == ["tokenize", "train", "package", "train", "package"])
        let stages = try queue.show(again).stages
        #expect(stages.map(\.state) == [.cached, .succeeded, .skipped, .succeeded])
        #expect(stages[0].why == "taken from \(id)" && stages[1].why == "asked for by retry --from train")
        #expect(stages[1].attempts.map(\.resumedFrom) == [nil])
        // What was never finished cannot be taken.
        try test.behave("tokenize", "fail 65 wrong wrong\n")
        let broken = try test.submit("name: broken\nseed: 3\n")
        try Data("{}\n".utf8).write(to: test.root("data/b.jsonl"))
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: broken) }
        let error = #expect(throws: OrchestrationError.self) { try queue.retry(broken, from: "train") }
        #expect(error?.code == .wrongState)
    }

    @Test func aJobCancelledWhileItWaitsIsInTheLog() throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let id = try test.submit("name: tone\n")
        var inbox = Inbox(test.configuration(), queue)
        _ = try inbox.scan(movedIn: [])
        let before = try queue.lastEvent()
        try queue.cancel(id)
        let endings = try queue.endings(after: before, upTo: queue.lastEvent())
        #expect(endings.map(\.job) == [id] && endings.map(\.state) == [.cancelled] && endings.map(\.was) == ["queued"])
    }
}
