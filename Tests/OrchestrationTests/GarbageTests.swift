import Artifacts
import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// That nothing a job works with is collected, and what of ended jobs is.
@Suite struct GarbageTests {
    private var strict: RetentionPolicy {
        var policy = RetentionPolicy()
        (policy.keepLast, policy.keepDaily, policy.keepMonthly, policy.aliasHistory) = (1, 0, 0, 1)
        (policy.cacheBytes, policy.graceSeconds) = (0, 0)
        return policy
    }

    private let later = Date(timeIntervalSinceNow: 20 * 86_400)

    @Test func endedJobsLoseTheirLargeFilesAndKeepTheirStory() async throws {
        let test = try TestWorkspace()
        var ids: [String] = []
        try await withDaemon(test.configuration()) { _ in
            for seed in 1...3 {
                ids.append(try test.submit("name: tone\nseed: \(seed)\n"))
                #expect(try await test.end(of: ids[seed - 1]).state == .succeeded)
            }
        }
        let recent = try GarbageCollector(test.workspace, strict).garbage()
        #expect(recent.count { $0.kind == .run } == 0, "\(recent)")
        var policy = strict
        policy.trashSeconds = 100 * 86_400
        let collector = GarbageCollector(test.workspace, policy, now: later)
        let found = try collector.garbage()
        #expect(Set(found.map(\.kind)).isSuperset(of: [.run, .version, .cachedOutput]), "\(found)")
        #expect(found.filter { $0.kind == .version }.map(\.subject).sorted() == ["tone:1", "tone:2"])
        // People read names, not digits.
        #expect(
            Set(found.filter { $0.kind == .cachedOutput }.map(\.title))
                == ["tokenize of tone", "train of tone", "package of tone"], "\(found.map(\.title))")
        let folders = found.filter { $0.kind == .run }
        #expect(folders.allSatisfy { $0.title == "attempts of tone" })
        #expect(folders.allSatisfy { access($0.url.path, F_OK) == 0 })

        // A job that waits needs the outputs that it has, and the versions of its adapter.
        try test.queue().setPaused(true, queue: "default")
        let again = try test.queue().retry(ids[0], fresh: true)
        #expect(try collector.garbage().count { $0.kind == .version } == 0)
        try test.queue().cancel(again)

        var announced = 0
        let removed = try collector.collect { _ in announced += 1 }
        #expect(announced == removed.count && removed.count >= found.count)
        for folder in folders {
            #expect(access(folder.url.path, F_OK) != 0)
            let result = folder.url.deletingLastPathComponent().appending(path: "result.json")
            #expect(access(result.path, F_OK) == 0, "\(result.path)")
        }
        #expect(try Invariants(test.workspace).violations() == [])
        #expect(try collector.garbage() == [])
        #expect(try ArtifactStore(test.workspace.artifacts).resolve(ArtifactReference("tone")).number == 3)
        // All at once, the trash too.
        let emptied = try collector.collect(throughTrash: false)
        #expect(Set(emptied.map(\.kind)) == [.trash, .blob], "\(emptied)")
        #expect(test.files(test.workspace.artifacts.appending(path: "trash"), ending: "json").isEmpty)

        // What is gone is made again when it is wanted.
        try test.queue().setPaused(false, queue: "default")
        try await withDaemon(test.configuration()) { _ in
            let id = try test.submit("name: tone\nseed: 1\n")
            let end = try await test.end(of: id)
            #expect(end.state == .succeeded && end.adapter == "tone:4")
        }
        let violations = try Invariants(test.workspace).violations()
        #expect(violations == [], "\(violations)")
    }

    /// A night whose outputs were collected is still one that was before.
    @Test func whatWasCollectedNeedNotBeMadeAgain() async throws {
        let test = try TestWorkspace()
        let manifest = "name: tone\nseed: 1\n"
        try await withDaemon(test.configuration()) { _ in
            _ = try await test.end(of: try test.submit(manifest))
        }
        let cache = test.workspace.artifacts.appending(path: "cache")
        _ = try GarbageCollector(test.workspace, strict, now: later).collect(throughTrash: false)
        #expect(try FileManager.default.contentsOfDirectory(atPath: cache.path).isEmpty)
        try await withDaemon(test.configuration()) { _ in
            let again = try await test.end(of: try test.submit(manifest))
            #expect(again.reason == "unchanged" && again.adapter == "tone:1", "\(again)")
            let attempts = try test.queue().read { try Int.fetchOne($0, sql: "SELECT count(*) FROM attempt") }
            // Another seed is another job, whatever was remembered of this one.
            let other = try await test.end(of: try test.submit("name: tone\nseed: 2\n"))
            #expect(other.adapter == "tone:2" && other.reason != "unchanged", "\(other)")
            let later = try test.queue().read { try Int.fetchOne($0, sql: "SELECT count(*) FROM attempt") }
            #expect(later ?? 0 > attempts ?? 0)
        }
        #expect(try Invariants(test.workspace).violations() == [])
    }

    @Test func aWorkspaceWithoutAnythingHasNoGarbage() throws {
        let test = try TestWorkspace()
        #expect(try GarbageCollector(test.workspace, strict, now: later).garbage() == [])
        #expect(try GarbageCollector(test.workspace, strict, now: later).collect() == [])
    }
}
