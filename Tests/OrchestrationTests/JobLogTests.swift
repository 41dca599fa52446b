import Foundation
import Logging
import PipelineSpec
import Synchronization
import Testing

@testable import Orchestration

/// Keeps what is logged.
struct Recorder: LogHandler {
    final class Lines: Sendable { let all = Mutex<[String]>([]) }

    let lines = Lines()
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let facts = (event.metadata ?? [:]).filter { !["job", "pid", "seconds"].contains($0.key) }
            .sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        lines.all.withLock { $0.append("\(event.message)\(facts)") }
    }

    /// Of one job, from its first line on.
    var story: [String] { Array(lines.all.withLock { $0 }.drop { !$0.hasPrefix("job ") }) }
}

@Suite struct JobLogTests {
    @Test func theLogTellsAJobsStory() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "if [ $attempt = 1 ]; then kill -9 $$; fi\n")
        let recorder = Recorder()
        var configuration = test.configuration()
        configuration.logger = Logger(label: "test") { _ in recorder }
        // Long enough for the driver to leave before the job starts again.
        configuration.retry.firstPause = 1
        let id = try test.submit("name: tone\nretries: 1\n")
        _ = try await withDaemon(configuration) { _ in try await test.end(of: id) }
        let log = try #require(try test.queue().show(id).stages[1].attempts.first).directory.log.path
        let crash = "ended from outside by signal 9"
        let story = recorder.story.map { $0.hasPrefix("retry at ") ? "retry at" + $0.dropFirst(28) : $0 }
        #expect(
            story == [
                "job started name=tone",
                "stage started attempt=1 stage=tokenize",
                "stage finished attempt=1 stage=tokenize state=succeeded",
                "stage started attempt=1 stage=train",
                "stage crashed attempt=1 code=killed message=\(crash); see \(log) signal=9 stage=train state=crashed",
                "retry at reason=killed: \(crash) [infrastructure]; see \(log) state=retry_wait",
                "job started name=tone",
                "stage started attempt=2 stage=train",
                "stage finished attempt=2 stage=train state=succeeded",
                "stage finished stage=merge state=skipped",
                "stage started attempt=1 stage=package",
                "stage finished attempt=1 stage=package state=succeeded",
                "job ended adapter=tone:1 state=succeeded",
            ])
    }

    @Test func theLogSaysWhatWasCachedAndWhatFailed() async throws {
        let test = try TestWorkspace()
        try test.behave("train", "fail 65 non_finite_loss loss_is_nan\n")
        let first = try test.submit("name: tone\n")
        _ = try await withDaemon(test.configuration()) { _ in try await test.end(of: first) }
        let recorder = Recorder()
        var configuration = test.configuration()
        configuration.logger = Logger(label: "test") { _ in recorder }
        let second = try test.submit("name: tone\npriority: 3\n")
        _ = try await withDaemon(configuration) { _ in try await test.end(of: second) }
        let failure = "non_finite_loss message=loss_is_nan"
        #expect(
            recorder.story == [
                "job started name=tone",
                "stage finished stage=tokenize state=cached",
                "stage started attempt=1 stage=train",
                "stage finished attempt=1 code=\(failure) stage=train state=failed",
                "job ended reason=train: non_finite_loss: loss_is_nan [permanent] state=failed",
            ])
    }
}
