import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Artifacts

@Suite struct VerifyTests {
    @Test func aFlippedBitIsFoundAndNamed() throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "aaaa")
        let version = try fixture.publish("tone", "bbbb")
        let file = version.url.appending(path: "adapter_model.safetensors")
        try StoreFixture.overwrite(file) { $0[2] ^= 1 }
        let damage = try fixture.store.verify(ArtifactReference("tone:2"))
        #expect(damage.map(\.problem) == [.changed])
        #expect(damage.map(\.path) == [file.path])
        #expect(damage[0].message.contains("adapter_model.safetensors of tone:2"))
        #expect(try fixture.store.verify(ArtifactReference("tone:1")).isEmpty)
        // Seen from the blob too, since it is the same file.
        #expect(try fixture.store.verify().map(\.subject) == ["tone:2", version.digest])
    }

    @Test func missingAddedAndShortenedFilesAreFound() throws {
        let fixture = try StoreFixture()
        let version = try fixture.publish("tone", "aaaa")
        try FileTree.setMode(0o755, version.url)
        try FileTree.remove(version.url.appending(path: "adapter_config.json"))
        try Data("x".utf8).write(to: version.url.appending(path: "extra.bin"))
        try StoreFixture.overwrite(version.url.appending(path: "adapter_model.safetensors")) { $0.removeLast() }
        let damage = try fixture.store.verify(version)
        #expect(damage.map(\.problem) == [.missing, .changed, .unexpected])
        #expect(
            damage.map { URL(filePath: $0.path).lastPathComponent }
                == ["adapter_config.json", "adapter_model.safetensors", "extra.bin"])
    }

    @Test func aChangedOrUnreadableRecordIsFoundAndHidesNothingElse() throws {
        let fixture = try StoreFixture()
        let version = try fixture.publish("tone", "a", attempt: "one")
        let record = version.url.appending(path: "lorajobs.json")
        try StoreFixture.overwrite(record) { data in
            data = Data(String(decoding: data, as: UTF8.self).replacing("1.25", with: "0.25").utf8)
        }
        #expect(try fixture.store.verify(version).map(\.problem) == [.changed])
        try StoreFixture.overwrite(record) { $0 = Data("{".utf8) }
        #expect(try fixture.store.verify(ArtifactReference("tone:1")).map(\.problem) == [.unreadable])
        #expect(code { _ = try fixture.store.resolve(ArtifactReference("tone:1")) } == .damaged)
        // The log still knows the version, and others can be published beside it.
        try fixture.publish("tone", "b")
        let listed = try fixture.store.list(all: true)
        #expect(listed.map(\.number) == [2, 1])
        #expect(listed[1].record == .null)
        #expect(listed[1].digest == version.digest && listed[1].created == version.created)
    }

    @Test func aFolderMadeByHandIsNoVersionAndKeepsItsNumber() throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "a")
        try FileTree.makeFolder(fixture.store.versionFolder(5, of: "tone", in: .adapters))
        #expect(try fixture.store.list(all: true).map(\.number) == [1])
        #expect(try fixture.publish("tone", "b").number == 6)
        #expect(try fixture.store.verify().map(\.subject) == ["tone:5"])
    }

    @Test func exportIsPlainAndChecked() throws {
        let fixture = try StoreFixture()
        let version = try fixture.publish("tone", "weights")
        let target = fixture.folder.url.appending(path: "exports/tone")
        try fixture.store.export(ArtifactReference("tone"), to: target)
        #expect(
            try FileTree.names(in: target) == ["adapter_config.json", "adapter_model.safetensors", "lorajobs.json"])
        #expect(try Digest.directoryDigest(target) == Digest.directoryDigest(version.url))
        #expect(try StoreFixture.mode(target) == 0o755)
        #expect(try StoreFixture.mode(target.appending(path: "adapter_model.safetensors")) == 0o644)
        // A copy, not a link: what its owner does to it does not reach the store.
        try Data("mine".utf8).write(to: target.appending(path: "adapter_model.safetensors"))
        #expect(try fixture.store.verify().isEmpty)

        #expect(code { try fixture.store.export(ArtifactReference("tone"), to: target) } == .destinationExists)
        let empty = fixture.folder.url.appending(path: "exports/empty")
        try FileTree.makeFolder(empty)
        try fixture.store.export(ArtifactReference("tone"), to: empty)
        #expect(try FileTree.names(in: empty).count == 3)

        try StoreFixture.overwrite(version.url.appending(path: "adapter_model.safetensors")) { $0[0] ^= 1 }
        let other = fixture.folder.url.appending(path: "exports/other")
        #expect(code { try fixture.store.export(ArtifactReference("tone"), to: other) } == .damaged)
        #expect(try FileTree.names(in: other.deletingLastPathComponent()) == ["empty", "tone"])
    }
}
