import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Artifacts

/// What is left when a writer fails, or is killed, after each of its steps.
@Suite struct CrashTests {
    struct Injected: Error {}

    private static let publishing: [Failpoint] = [
        .blobWritten, .blobLinked, .blobsFlushed, .versionAssembled, .versionFlushed, .versionRenamed, .versionSealed,
        .logWritten, .versionLogged,
    ]
    private static let aliasing: [Failpoint] = [.aliasMade, .aliasRenamed, .logWritten, .aliasLogged]
    private static let caching: [Failpoint] = [.entryAssembled, .entryFlushed, .entryRenamed]

    /// Runs `body`, in which this very process is killed at the step, as by `kill -9`.
    static func killing<Result>(at step: String, _ body: () throws -> Result) rethrows -> Result {
        try Failpoint.withHandler({ if $0.rawValue == step { kill(getpid(), SIGKILL) } }, body)
    }

    /// Runs `body`, in which the step fails.
    private static func failing<Result>(at step: Failpoint, _ body: () throws -> Result) rethrows -> Result {
        try Failpoint.withHandler({ if $0 == step { throw Injected() } }, body)
    }

    @Test(arguments: publishing)
    func publishFails(after step: Failpoint) throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "before", attempt: "zero")
        let folder = try fixture.adapter("weights")
        #expect(throws: Injected.self) {
            try Self.failing(at: step) {
                try fixture.store.publish(folder: folder, in: .adapters, name: "tone", attemptID: "one")
            }
        }
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
        try checkAndRetry(fixture, folder)
    }

    @Test(arguments: publishing)
    func publisherIsKilled(after step: Failpoint) async throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "before", attempt: "zero")
        let folder = try fixture.adapter("weights")
        let (root, path, name) = (fixture.store.root.path, folder.path, step.rawValue)
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [root = root as String, path = path as String, name = name as String] in
            let store = ArtifactStore(URL(filePath: root))
            _ = try CrashTests.killing(at: name) {
                try store.publish(folder: URL(filePath: path), in: .adapters, name: "tone", attemptID: "one")
            }
        }
        #expect(try fixture.store.sweepTemporary().count == 1)
        try checkAndRetry(fixture, folder)
    }

    private func checkAndRetry(_ fixture: StoreFixture, _ folder: URL) throws {
        let store = fixture.store
        // Nothing, or a whole version.
        #expect(try store.verify().isEmpty)
        #expect(try [[1], [2, 1]].contains(store.versions(of: "tone").map(\.number)))
        // A retry makes, or finds, the one version.
        let version = try store.publish(folder: folder, in: .adapters, name: "tone", attemptID: "one")
        #expect(version.number == 2)
        #expect(try StoreFixture.mode(version.url) == 0o555)
        #expect(try store.log(of: "tone").map(\.version) == [1, 2])
        #expect(try store.versions(of: "tone").map(\.number) == [2, 1])
        #expect(try store.verify().isEmpty)
        #expect(try FileTree.names(in: store.temporary).isEmpty)
        #expect(try FileTree.names(in: store.folder(of: "tone", in: .adapters)) == ["1", "2", "log.jsonl"])
    }

    @Test func aVersionWithoutItsLogLineIsLoggedByTheNextPublisher() throws {
        let fixture = try StoreFixture()
        #expect(throws: Injected.self) {
            try Self.failing(at: .versionRenamed) {
                try fixture.store.publish(
                    folder: fixture.adapter("a"), in: .adapters, name: "tone", attemptID: "one")
            }
        }
        #expect(try fixture.store.log(of: "tone").isEmpty)
        #expect(try fixture.publish("tone", "b", attempt: "two").number == 2)
        let log = try fixture.store.log(of: "tone")
        #expect(log.map(\.version) == [1, 2] && log.map(\.attempt) == ["one", "two"])
    }

    @Test(arguments: aliasing)
    func aliasMoverIsKilled(after step: Failpoint) async throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        for weights in ["a", "b"] { try fixture.publish("tone", weights) }
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "first")
        let (root, name) = (store.root.path, step.rawValue)
        await #expect(processExitsWith: .signal(SIGKILL)) { [root = root as String, name = name as String] in
            let store = ArtifactStore(URL(filePath: root))
            _ = try CrashTests.killing(at: name) {
                try store.setAlias("production", to: ArtifactReference("tone:2"), reason: "better")
            }
        }
        #expect(try [1, 2].contains(store.resolve(ArtifactReference("tone@production")).number))
        #expect(try store.sweepTemporary().count == 1)
        try store.setAlias("production", to: ArtifactReference("tone:2"), reason: "better")
        #expect(try store.resolve(ArtifactReference("tone@production")).number == 2)
        #expect(try store.resolve(ArtifactReference("tone@production~1")).number == 1)
        let moves = try store.log(of: "tone").filter { $0.event == .aliasMoved }
        #expect(moves.map(\.version) == [1, 2] && moves.map(\.previous) == [nil, 1])
        #expect(moves.map(\.reason) == ["first", "better"])
    }

    @Test(arguments: caching)
    func cacheWriterIsKilled(after step: Failpoint) async throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        let out = try fixture.adapter("weights")
        let key = Digest.sha256(Data("key".utf8))
        let (root, path, name) = (fixture.store.root.path, out.path, step.rawValue)
        await #expect(processExitsWith: .signal(SIGKILL)) {
            [root = root as String, path = path as String, name = name as String, key = key as String] in
            let cache = StageCache(ArtifactStore(URL(filePath: root)))
            _ = try CrashTests.killing(at: name) {
                try cache.store(
                    key: key, folder: URL(filePath: path),
                    metadata: .init(kind: "train", created: Date(), attemptID: "a"))
            }
        }
        #expect(try fixture.store.sweepTemporary().count == 1)
        #expect(try (cache.lookup(key) != nil) == (step == .entryRenamed))
        #expect(try cache.verify().isEmpty)
        try cache.store(key: key, folder: out, metadata: .init(kind: "train", created: Date(), attemptID: "a"))
        #expect(try cache.lookup(key)?.digest == Digest.directoryDigest(out))
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func sweepingLeavesTheLivingAlone() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        do {
            let living = try ScratchFolder(in: store.temporary)
            try Data("x".utf8).write(to: living.url.appending(path: "blob"))
            let dead = store.temporary.appending(path: "dead/version")
            try FileTree.makeFolder(dead)
            try Data("x".utf8).write(to: dead.appending(path: "file"))
            try FileTree.seal(dead)
            #expect(try store.sweepTemporary() == ["dead"])
            #expect(try FileTree.names(in: living.url) == ["blob"])
        }
        #expect(try FileTree.names(in: store.temporary).isEmpty)
    }

    @Test func aLineCutOffByACrashIsDroppedAndAnythingElseIsReported() throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "a")
        let log = fixture.store.versionLog(of: "tone", in: .adapters).url
        let whole = try Data(contentsOf: log)
        try (whole + Data(#"{"event":"publis"#.utf8)).write(to: log)
        #expect(try fixture.store.log(of: "tone").count == 1)
        try fixture.publish("tone", "b")
        #expect(try fixture.store.log(of: "tone").map(\.version) == [1, 2])

        try (whole + Data("nonsense\n".utf8)).write(to: log)
        let error = #expect(throws: ArtifactError.self) { try fixture.publish("tone", "c") }
        #expect(error?.code == .damaged)
        #expect(error?.message.contains("log.jsonl:2 ") == true)
    }
}
