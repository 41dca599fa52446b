import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Artifacts

@Suite struct PublishTests {
    @Test func versionIsAPlainReadOnlyFolderOfLinks() throws {
        let fixture = try StoreFixture()
        let version = try fixture.publish("tone", "weights", attempt: "a1")

        #expect(version.reference == "tone:1")
        #expect(version.digest == Digest.sha256(Data("weights".utf8)))
        #expect(version.aliases == ["latest"])
        #expect(version.created == StoreFixture.day)
        #expect(version.url.path == fixture.store.root.path + "/adapters/tone/1")
        #expect(
            try FileTree.names(in: version.url) == [
                "adapter_config.json", "adapter_model.safetensors", "lorajobs.json",
            ])
        #expect(try StoreFixture.mode(version.url) == 0o555)
        for name in try FileTree.names(in: version.url) {
            let file = version.url.appending(path: name)
            let blob = fixture.store.blob(try Digest.sha256(of: file))
            #expect(try StoreFixture.mode(file) == 0o444)
            #expect(try FileTree.status(file)?.st_ino == FileTree.status(blob)?.st_ino)
        }
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
        #expect(try fixture.store.verify().isEmpty)
    }

    @Test func recordKeepsWhatTheStageWroteAndAddsItsOwn() throws {
        let fixture = try StoreFixture()
        let version = try fixture.publish("tone", "weights", attempt: "a1")
        let text = try Data(contentsOf: version.url.appending(path: "lorajobs.json"))
        let record = try JSONDecoder().decode(JSONValue.self, from: text)
        #expect(record == version.record)
        #expect(record["seed"] == .integer(.max))
        #expect(record["metrics"]?["loss"] == .number(1.25))
        #expect(record["name"]?.string == "tone")
        #expect(record["version"]?.int == 1)
        #expect(record["attempt"]?.string == "a1")
        #expect(record["digest"]?.string == version.digest)
        #expect(record["created"]?.string == "2026-11-21T02:00:00.000Z")
        #expect(record["files"]?["adapter_config.json"]?["size"]?.int == 29)
    }

    @Test func versionsAreDenseAndNeverReused() throws {
        let fixture = try StoreFixture()
        for weights in ["a", "b", "c"] { try fixture.publish("tone", weights) }
        #expect(try fixture.store.versions(of: "tone").map(\.number) == [3, 2, 1])
        // Removed by hand, as an ordinary user can with the folder made writable.
        try FileTree.remove(fixture.store.versionFolder(3, of: "tone", in: .adapters))
        #expect(try fixture.publish("tone", "d").number == 4)
        #expect(try fixture.publish("other", "d").number == 1)
        #expect(try fixture.store.list().map(\.reference) == ["other:1", "tone:4"])
        #expect(try fixture.store.list(all: true).map(\.reference) == ["other:1", "tone:4", "tone:2", "tone:1"])
    }

    @Test func publishingAnAttemptAgainChangesNothing() throws {
        let fixture = try StoreFixture()
        let first = try fixture.publish("tone", "a", attempt: "one")
        try fixture.publish("tone", "b", attempt: "two")
        let again = try fixture.publish("tone", "a", attempt: "one")
        #expect(again.number == first.number && again.digest == first.digest)
        #expect(try fixture.store.log(of: "tone").map(\.version) == [1, 2])
        // One attempt may publish under two names.
        #expect(try fixture.publish("merged", "a", attempt: "one").number == 1)
        // A version that was removed does not come back under another number.
        try FileTree.remove(again.url)
        #expect(code { try fixture.publish("tone", "a", attempt: "one") } == .noSuchVersion)
    }

    @Test func equalContentIsStoredOnce() throws {
        let fixture = try StoreFixture()
        let first = try fixture.publish("tone", "same")
        let second = try fixture.publish("tone", "same")
        let file = "adapter_model.safetensors"
        #expect(
            try FileTree.status(first.url.appending(path: file))?.st_ino
                == FileTree.status(second.url.appending(path: file))?.st_ino)
        #expect(first.digest == second.digest)
        #expect(try fixture.store.resolve(ArtifactReference("tone@\(first.digest)")).number == 2)
    }

    @Test func aRottenBlobIsNotReused() throws {
        let fixture = try StoreFixture()
        let first = try fixture.publish("tone", "same")
        try StoreFixture.overwrite(first.url.appending(path: "adapter_model.safetensors")) { $0[0] ^= 1 }
        let second = try fixture.publish("tone", "same")
        #expect(try fixture.store.verify(second).isEmpty)
        #expect(try fixture.store.verify().map(\.subject) == ["tone:1"])
    }

    @Test func concurrentPublishersGetDenseNumbers() async throws {
        let fixture = try StoreFixture()
        let numbers = try await withThrowingTaskGroup(of: [Int].self) { group in
            for worker in 0..<8 {
                group.addTask {
                    // A store each: locks belong to the open file, so this is what processes do.
                    let store = ArtifactStore(fixture.store.root)
                    return try (0..<4).map {
                        try store.publish(
                            folder: fixture.adapter("\(worker)-\($0)"), in: .adapters, name: "tone",
                            attemptID: "\(worker)-\($0)"
                        ).number
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(numbers.sorted() == Array(1...32))
        #expect(try fixture.store.log(of: "tone").map(\.version) == Array(1...32))
        #expect(try fixture.store.verify().isEmpty)
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func concurrentPublishersOfOneAttemptMakeOneVersion() async throws {
        let fixture = try StoreFixture()
        let numbers = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<8 { group.addTask { try fixture.publish("tone", "w", attempt: "same").number } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(numbers == Array(repeating: 1, count: 8))
        #expect(try fixture.store.log(of: "tone").count == 1)
    }

    @Test func twoProcessesPublishAtOnce() async throws {
        let fixture = try StoreFixture()
        let root = fixture.store.root.path
        let parent = fixture.folder.url.path
        async let one: Void = publishInChild(root, parent, "one")
        async let two: Void = publishInChild(root, parent, "two")
        _ = await (one, two)
        #expect(try fixture.store.versions(of: "tone").map(\.number) == Array((1...20).reversed()))
        #expect(try fixture.store.log(of: "tone").map(\.version) == Array(1...20))
        #expect(Set(try fixture.store.versions(of: "tone").map(\.attemptID)).count == 20)
        #expect(try fixture.store.verify().isEmpty)
    }

    private func publishInChild(_ root: String, _ parent: String, _ worker: String) async {
        await #expect(processExitsWith: .success) {
            [root = root as String, parent = parent as String, worker = worker as String] in
            let store = ArtifactStore(URL(filePath: root))
            for number in 1...10 {
                let folder = try StoreFixture.adapter(in: URL(filePath: parent), weights: "\(worker) \(number)")
                _ = try store.publish(
                    folder: folder, in: .adapters, name: "tone", attemptID: "\(worker) \(number)")
            }
        }
    }

    @Test func aPublicationNamesAFolderBelowOut() throws {
        let fixture = try StoreFixture()
        let folder = try fixture.adapter("w")
        let out = folder.deletingLastPathComponent()
        let version = try fixture.store.publish(
            Publication(collection: "adapters", name: "tone", folder: "adapter"), from: out, attemptID: "a")
        #expect(version.reference == "tone:1")
        for publication in [
            Publication(collection: "datasets", name: "tone", folder: "adapter"),
            Publication(collection: "adapters", name: "tone", folder: "../adapter"),
            Publication(collection: "adapters", name: "tone", folder: folder.path),
        ] {
            #expect(
                code { _ = try fixture.store.publish(publication, from: out, attemptID: "b") } == .invalidFolder)
        }
    }

    @Test func modelsAreIdentifiedByAllTheirFiles() throws {
        let fixture = try StoreFixture()
        let folder = fixture.folder.url.appending(path: "model")
        try FileManager.default.createDirectory(
            at: folder.appending(path: "sub"), withIntermediateDirectories: true)
        try Data("{}".utf8).write(to: folder.appending(path: "config.json"))
        try Data("abc".utf8).write(to: folder.appending(path: "sub/model.safetensors"))
        let expected = try Digest.directoryDigest(folder)
        let version = try fixture.store.publish(folder: folder, in: .models, name: "merged", attemptID: "a")
        #expect(version.digest == expected)
        #expect(try StoreFixture.mode(version.url.appending(path: "sub")) == 0o555)
        #expect(try fixture.store.list().isEmpty)
        #expect(try fixture.store.list(.models).map(\.reference) == ["merged:1"])
    }

    @Test func whatIsNoAdapterIsRefusedAndLeavesNothing() throws {
        let fixture = try StoreFixture()
        let folder = try fixture.adapter("w")
        #expect(
            code { _ = try fixture.store.publish(folder: folder, in: .adapters, name: "../x", attemptID: "a") }
                == .invalidName)
        try FileManager.default.createSymbolicLink(
            atPath: folder.appending(path: "extra").path, withDestinationPath: "/etc/hostname")
        #expect(
            code { _ = try fixture.store.publish(folder: folder, in: .adapters, name: "x", attemptID: "a") }
                == .invalidFolder)
        try FileTree.remove(folder.appending(path: "extra"))
        try FileTree.remove(folder.appending(path: "adapter_model.safetensors"))
        #expect(
            code { _ = try fixture.store.publish(folder: folder, in: .adapters, name: "x", attemptID: "a") }
                == .invalidFolder)
        #expect(
            code {
                _ = try fixture.store.publish(
                    folder: folder.appending(path: "gone"), in: .adapters, name: "x", attemptID: "a")
            } == .notFound)
        #expect(try fixture.store.names().isEmpty)
        #expect(try FileTree.names(in: fixture.store.temporary).isEmpty)
    }

    @Test func aFullDiskIsToldApart() throws {
        let full = try OpenFile("/dev/full", O_WRONLY)
        #expect(code { try full.write(Data("x".utf8)) } == .noSpace)
        #expect(ArtifactError.system("write", "/x", EDQUOT).code == .noSpace)
        #expect(ArtifactError.system("write", "/x", EIO).code == .io)
    }
}
