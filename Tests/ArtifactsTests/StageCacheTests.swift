import Foundation
import TestSupport
import Testing

@testable import Artifacts

@Suite struct StageCacheTests {
    static let key = Digest.sha256(Data("key".utf8))
    static let metadata = StageCache.Metadata(
        kind: "train", created: StoreFixture.day, attemptID: "a1", metrics: ["loss": 1.5],
        published: [.init(collection: .adapters, name: "tone", version: 3, digest: key)])

    /// An `out/` with a folder in it.
    private func output(_ fixture: StoreFixture, _ text: String) throws -> URL {
        let out = fixture.folder.url.appending(path: "runs/\(UUID().uuidString)/out")
        try FileTree.makeFolder(out.appending(path: "deep/empty"))
        try Data(text.utf8).write(to: out.appending(path: "tokens.bin"))
        try Data("x".utf8).write(to: out.appending(path: "deep/index.json"))
        return out
    }

    @Test func anOutputIsFoundAgainWithAllThatIsKnownOfIt() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store.root)
        let out = try output(fixture, "tokens")
        #expect(try cache.lookup(Self.key) == nil)
        let stored = try cache.store(key: Self.key, folder: out, metadata: Self.metadata)
        let found = try #require(try cache.lookup(Self.key))
        #expect(found == stored)
        #expect(found.key == Self.key)
        #expect(found.metadata == Self.metadata)
        #expect(try found.digest == Digest.directoryDigest(out))
        #expect(try found.digest == Digest.directoryDigest(found.folder))
        #expect(try StoreFixture.mode(found.folder) == 0o555)
        #expect(try StoreFixture.mode(found.folder.appending(path: "deep")) == 0o555)
        #expect(try StoreFixture.mode(found.folder.appending(path: "tokens.bin")) == 0o444)
        // Shared, not copied.
        #expect(
            try FileTree.status(out.appending(path: "tokens.bin"))?.st_ino
                == FileTree.status(found.folder.appending(path: "tokens.bin"))?.st_ino)
        #expect(try cache.verify().isEmpty)
        // The run directory may go.
        try FileTree.remove(out)
        #expect(try cache.verify(Self.key).isEmpty)
        #expect(try cache.lookup(Self.key) == found)
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func theFirstOutputOfAKeyStays() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        let first = try cache.store(key: Self.key, folder: output(fixture, "one"), metadata: Self.metadata)
        let second = try cache.store(key: Self.key, folder: output(fixture, "two"), metadata: Self.metadata)
        #expect(second == first)
    }

    @Test func losingARaceIsFine() async throws {
        let fixture = try StoreFixture()
        let outputs = try (0..<8).map { try output(fixture, "\($0)") }
        let digests = try await withThrowingTaskGroup(of: String.self) { group in
            for out in outputs {
                group.addTask {
                    try StageCache(fixture.store.root)
                        .store(key: Self.key, folder: out, metadata: Self.metadata).digest
                }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(digests.count == 1)
        #expect(try StageCache(fixture.store).verify().isEmpty)
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func anIncompleteEntryCountsAsNoneAndIsReplaced() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        for problem in [Damage.Problem.missing, .changed, .unreadable] {
            let stored = try cache.store(key: Self.key, folder: output(fixture, "tokens"), metadata: Self.metadata)
            let file = stored.folder.appending(path: "tokens.bin")
            switch problem {
            case .missing:
                try FileTree.setMode(0o755, stored.folder)
                try FileTree.remove(file)
            case .changed: try StoreFixture.overwrite(file) { $0.removeLast() }
            default:
                try StoreFixture.overwrite(stored.folder.deletingLastPathComponent().appending(path: "entry.json")) {
                    $0.removeLast(5)
                }
            }
            #expect(try cache.lookup(Self.key) == nil)
            #expect(try cache.verify().map(\.problem) == [problem])
        }
        try cache.store(key: Self.key, folder: output(fixture, "tokens"), metadata: Self.metadata)
        #expect(try cache.verify().isEmpty)
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func verifyReadsWhatLookupDoesNot() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        let stored = try cache.store(key: Self.key, folder: output(fixture, "tokens"), metadata: Self.metadata)
        try StoreFixture.overwrite(stored.folder.appending(path: "tokens.bin")) { $0[0] ^= 1 }
        #expect(try cache.lookup(Self.key) != nil)
        let damage = try cache.verify(Self.key)
        #expect(damage.map(\.problem) == [.changed])
        #expect(damage[0].message.contains("tokens.bin"))
    }

    @Test func aKeyIsADigest() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        #expect(code { _ = try cache.lookup("../../etc") } == .invalidName)
    }

    @Test func anotherFileSystemIsCopiedFrom() throws {
        let memory = URL(filePath: "/dev/shm/lorajobs-test-\(UUID().uuidString)")
        let fixture = try StoreFixture()
        guard (try? FileTree.makeFolder(memory)) != nil,
            try FileTree.status(memory)?.st_dev != FileTree.status(fixture.folder.url)?.st_dev
        else {
            print("*** SKIPPED *** anotherFileSystemIsCopiedFrom: /dev/shm is no file system of its own here")
            return
        }
        defer { try? FileTree.remove(memory) }
        try Data("x".utf8).write(to: memory.appending(path: "tokens.bin"))
        let cache = StageCache(fixture.store)
        let stored = try cache.store(key: Self.key, folder: memory, metadata: Self.metadata)
        #expect(try stored.digest == Digest.directoryDigest(memory))
        #expect(try cache.verify().isEmpty)
        let version = try fixture.store.publish(
            folder: StoreFixture.adapter(in: memory, weights: "w"), in: .adapters, name: "tone", attemptID: "a")
        #expect(try fixture.store.verify(version).isEmpty)
    }
}
