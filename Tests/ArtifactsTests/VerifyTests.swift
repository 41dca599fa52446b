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

    /// One bit of any byte of a log: the line is named, and nothing else is said to be wrong.
    @Test func aFlippedBitOfALogIsFoundAndItsLineNamed() throws {
        let fixture = try StoreFixture()
        try fixture.publish("tone", "aaaa")
        try fixture.publish("other", "bbbb")
        _ = try fixture.store.promote(ArtifactReference("tone:1"), reason: "good")
        let log = fixture.store.versionLog(of: "tone", in: .adapters).url
        let whole = try Data(contentsOf: log)
        let first = try #require(whole.firstIndex(of: UInt8(ascii: "\n")))
        #expect(try fixture.store.verify().isEmpty)
        for place in whole.indices {
            var data = whole
            data[place] ^= 1
            try data.write(to: log)
            let damage = try fixture.store.versionLog(of: "tone", in: .adapters).damage(of: "tone")
            let line = place <= first ? 1 : 2
            #expect(
                damage.count == 1 && damage.first?.message.contains("log.jsonl:\(line) ") == true, "\(place): \(damage)"
            )
        }
        // In the whole store it is one finding among the others, which are found all the same.
        var data = whole
        data[first + 4] ^= 1
        try data.write(to: log)
        try StoreFixture.overwrite(
            fixture.store.resolve(ArtifactReference("other:1")).url.appending(path: "adapter_model.safetensors")
        ) { $0[0] ^= 1 }
        let damage = try fixture.store.verify()
        #expect(damage.count { $0.isOfLog } == 1 && damage.contains { $0.subject == "other:1" }, "\(damage)")
        #expect(damage.report.contains { $0.contains("log.jsonl:2 ") && $0.contains("do: end the daemon") })
        // Nothing is built upon a history that cannot be trusted; the other name goes on.
        #expect(code { try fixture.publish("tone", "cccc") } == .damaged)
        try fixture.publish("other", "dddd")
        #expect(try fixture.store.list().count == 2)
        // Lines without a sum are those of an older program.
        let old = String(decoding: whole, as: UTF8.self).replacing(/,"sum":"[0-9a-f]+"/, with: "")
        try Data(old.utf8).write(to: log)
        #expect(try fixture.store.log(of: "tone").count == 2)
        try fixture.publish("tone", "eeee")
        #expect(try fixture.store.versionLog(of: "tone", in: .adapters).damage(of: "tone").isEmpty)
    }

    @Test func cachedOutputsAreReadToo() throws {
        let fixture = try StoreFixture()
        let cache = StageCache(fixture.store)
        let folder = fixture.folder.url.appending(path: "out")
        try FileTree.makeFolder(folder)
        try Data("tokens".utf8).write(to: folder.appending(path: "tokens.bin"))
        let stored = try cache.store(
            key: Digest.sha256(Data("key".utf8)), folder: folder,
            metadata: StageCache.Metadata(
                kind: "tokenize", created: StoreFixture.day, attemptID: "a", metrics: ["loss": 1.25]))
        #expect(try fixture.store.verify().isEmpty)
        let entry = stored.folder.deletingLastPathComponent().appending(path: "entry.json")
        let whole = try Data(contentsOf: entry)
        for place in whole.indices {
            try StoreFixture.overwrite(entry) { $0[place] ^= 1 }
            let damage = try fixture.store.verify()
            #expect(damage.count == 1 && damage.first?.isCachedOutput == true, "\(place): \(damage)")
            try StoreFixture.overwrite(entry) { $0 = whole }
        }
        try StoreFixture.overwrite(stored.folder.appending(path: "tokens.bin")) { $0[0] ^= 1 }
        let damage = try fixture.store.verify()
        #expect(damage.map(\.isCachedOutput) == [true] && damage[0].advice.contains("doctor --repair"))
    }

    /// A small file is one file of many versions: it is one finding, and a good copy mends them all.
    @Test func aSharedFileIsOneFindingAndIsMendedForAll() throws {
        let fixture = try StoreFixture()
        let store = fixture.store
        for number in 1...5 { try fixture.publish("tone", "weights \(number)") }
        let shared = try store.resolve(ArtifactReference("tone:3")).url.appending(path: "adapter_config.json")
        let whole = try Data(contentsOf: shared)
        try StoreFixture.overwrite(shared) { $0[3] ^= 1 }
        let damage = try store.verify()
        #expect(damage.count == 6, "five versions and the blob")
        #expect(damage.report.count == 1)
        #expect(
            damage.report[0].hasPrefix(
                "adapter_config.json is damaged in 5 versions (one shared file): tone:1, tone:2, tone:3, tone:4, tone:5; do: "
            ))
        // There is no good copy yet.
        #expect(try store.mend(damage).isEmpty)
        try store.quarantine(damage)
        #expect(try store.knownDamage(of: "tone").keys.sorted() == [1, 2, 3, 4, 5])
        #expect(code { _ = try store.promote(ArtifactReference("tone:3"), reason: "x") } == .damaged)

        try fixture.publish("tone", "weights 6")
        let mended = try store.mend(store.verify())
        #expect(mended.map(\.subject) == ["tone:1", "tone:2", "tone:3", "tone:4", "tone:5"])
        #expect(try Data(contentsOf: shared) == whole)
        #expect(try StoreFixture.mode(shared.deletingLastPathComponent()) == 0o555)
        let left = try store.verify()
        #expect(left.isEmpty, "\(left)")
        try store.quarantine(left)
        #expect(try store.knownDamage(of: "tone").isEmpty)
        #expect(try store.promote(ArtifactReference("tone:3"), reason: "whole again").version.number == 3)
        // A record that is gone, or cannot be read, is mended from its blob where that is another file.
        let record = try store.resolve(ArtifactReference("tone:2")).url.appending(path: Version.recordFile)
        try FileTree.setMode(0o755, record.deletingLastPathComponent())
        try FileTree.remove(record)
        #expect(try store.mend(store.verify()).map(\.path) == [record.path])
        #expect(try store.verify().isEmpty && store.historyFaults().isEmpty)
    }

    /// One part a night: each damaged file is found on one of the nights, and on that one alone.
    @Test func theNightsReadEverythingBetweenThem() throws {
        let fixture = try StoreFixture()
        for number in 1...12 { try fixture.publish("tone", "weights \(number)") }
        let nights = (0..<4).map { VerifiedPart(share: 0.25, on: Date(timeIntervalSince1970: Double($0) * 86_400)) }
        #expect(nights.map(\.index) == [0, 1, 2, 3] && nights.map(\.count) == [4, 4, 4, 4])
        #expect(VerifiedPart(share: 0.25, on: Date(timeIntervalSince1970: -1)).index == 3)
        #expect(VerifiedPart(share: 1, on: Date()) == .whole)
        var found: [Int: [Int]] = [:]
        for number in 1...12 {
            let file = try fixture.store.resolve(ArtifactReference("tone:\(number)")).url
                .appending(path: "adapter_model.safetensors")
            try StoreFixture.overwrite(file) { $0[0] ^= 1 }
            found[number] = try nights.indices.filter { try !fixture.store.verify(part: nights[$0]).isEmpty }
            try StoreFixture.overwrite(file) { $0[0] ^= 1 }
        }
        #expect(found.values.allSatisfy { $0.count == 1 }, "\(found)")
        #expect(Set(found.values.flatMap { $0 }).count > 1, "all in one part")
        // What is missing is seen on every night.
        let version = try fixture.store.resolve(ArtifactReference("tone:7"))
        try FileTree.setMode(0o755, version.url)
        try FileTree.remove(version.url.appending(path: "adapter_config.json"))
        for night in nights { #expect(try fixture.store.verify(part: night).map(\.problem) == [.missing]) }
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
