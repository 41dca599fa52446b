import Foundation
import TestSupport
import Testing

@testable import Artifacts

@Suite struct AliasTests {
    @Test func anAliasIsASymlinkWithAHistory() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        for weights in ["a", "b", "c"] { try fixture.publish("tone", weights) }
        #expect(try store.resolve(ArtifactReference("tone")).number == 3)

        #expect(try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "by hand") == nil)
        #expect(try store.setAlias("production", to: ArtifactReference("tone@latest"), reason: "gate passed") == 1)
        // Where it is already: no move, no line.
        #expect(try store.setAlias("production", to: ArtifactReference("tone:3"), reason: "again") == 3)

        let link = store.root.appending(path: "adapters/tone/production")
        #expect(FileTree.symlinkTarget(link) == "3")
        #expect(FileManager.default.fileExists(atPath: link.appending(path: "adapter_model.safetensors").path))
        let moves = try store.log(of: "tone").filter { $0.event == .aliasMoved }
        #expect(moves.map(\.version) == [1, 3])
        #expect(moves.map(\.reason) == ["by hand", "gate passed"])

        try fixture.publish("tone", "d")
        #expect(try store.resolve(ArtifactReference("tone")).number == 3)
        #expect(try store.resolve(ArtifactReference("tone@latest")).number == 4)
        #expect(try store.resolve(ArtifactReference("tone@latest~3")).number == 1)
        #expect(try store.resolve(ArtifactReference("tone@production~1")).number == 1)
        #expect(try store.list()[0].aliases == ["latest"])
        #expect(try store.resolve(ArtifactReference("tone:3")).aliases == ["production"])
        #expect(code { _ = try store.resolve(ArtifactReference("tone@production~2")) } == .noSuchAlias)
        #expect(code { _ = try store.resolve(ArtifactReference("tone@latest~4")) } == .noSuchAlias)

        try store.removeAlias("production", of: "tone", reason: "withdrawn")
        #expect(try store.resolve(ArtifactReference("tone")).number == 4)
        #expect(code { _ = try store.resolve(ArtifactReference("tone@production")) } == .noSuchAlias)
        let last = try #require(try store.log(of: "tone").last)
        #expect(last.version == nil && last.previous == 3 && last.reason == "withdrawn")
    }

    @Test func aMoveByHandGetsIntoTheHistory() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        for weights in ["a", "b", "c"] { try fixture.publish("tone", weights) }
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "one")
        let link = store.root.appending(path: "adapters/tone/production")
        try FileTree.remove(link)
        try FileManager.default.createSymbolicLink(atPath: link.path, withDestinationPath: "2")
        #expect(try store.resolve(ArtifactReference("tone@production")).number == 2)
        #expect(try store.resolve(ArtifactReference("tone@production~1")).number == 1)
        try store.setAlias("production", to: ArtifactReference("tone:3"), reason: "three")
        #expect(try store.log(of: "tone").values(of: "production") == [1, 2, 3])
        #expect(try store.resolve(ArtifactReference("tone@production~1")).number == 2)
    }

    @Test(arguments: ["latest", "42", "log.jsonl", "a~1", "", "a/b", "-x"])
    func someNamesCannotBeAliases(_ alias: String) throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "a")
        #expect(
            code { try fixture.store.setAlias(alias, to: ArtifactReference("tone"), reason: "") } == .invalidName)
    }

    @Test func anAliasNeverPointsAtDamagedOrMissingContent() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        try fixture.publish("tone", "a")
        try fixture.publish("tone", "b")
        try store.setAlias("production", to: ArtifactReference("tone:1"), reason: "good")
        let weights = store.root.appending(path: "adapters/tone/2/adapter_model.safetensors")
        try StoreFixture.overwrite(weights) { $0[0] ^= 0x20 }
        #expect(code { try store.setAlias("production", to: ArtifactReference("tone:2"), reason: "") } == .damaged)
        #expect(
            code { try store.setAlias("production", to: ArtifactReference("tone:9"), reason: "") } == .noSuchVersion)
        #expect(try store.resolve(ArtifactReference("tone")).number == 1)
        // The version itself taken away by hand: found by resolving and by verify.
        try FileTree.remove(store.versionFolder(1, of: "tone", in: .adapters))
        #expect(code { _ = try store.resolve(ArtifactReference("tone")) } == .noSuchVersion)
        #expect(try store.verify().contains { $0.problem == .dangling && $0.subject == "tone@production" })
    }
}
