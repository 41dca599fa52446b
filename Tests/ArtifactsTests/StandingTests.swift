import Foundation
import TestSupport
import Testing

@testable import Artifacts

/// Promotion, the way back, rejection, and what becomes of damage.
@Suite struct StandingTests {
    private func store(versions: Int) throws -> StoreFixture {
        let fixture = try StoreFixture()
        for number in 1...versions { try fixture.publish("tone", "weights \(number)") }
        return fixture
    }

    private func production(_ fixture: StoreFixture) throws -> Int? {
        try fixture.store.aliases(of: "tone")["production"]
    }

    @Test func theWayBackGoesFurtherEachTime() throws {
        let fixture = try store(versions: 4)
        let store = fixture.store
        for number in 1...4 { _ = try store.promote(ArtifactReference("tone:\(number)"), reason: "night \(number)") }
        let first = try store.rollBack("tone", reason: "worse")
        #expect(first.now.number == 3 && first.before == 4)
        // Not to 4 again, which was rolled back from.
        #expect(try store.rollBack("tone", reason: "worse").now.number == 2)
        #expect(try store.rollBack("tone", to: 4, reason: "it was not that").now.number == 4)
        #expect(try store.rollBack("tone", reason: "it was").now.number == 2)
        #expect(try store.rollBack("tone", reason: "worse").now.number == 1)
        #expect(code { _ = try store.rollBack("tone", reason: "worse") } == .noSuchAlias)
        #expect(try production(fixture) == 1)
        let log = try store.log(of: "tone").filter { $0.alias == "production" }
        #expect(log.map(\.version) == [1, 2, 3, 4, 3, 2, 4, 2, 1])
        #expect(log.last?.previous == 2 && log.last?.reason == "worse")
        #expect(try store.historyFaults().isEmpty)
        #expect(code { _ = try store.rollBack("tone", alias: "night", reason: "x") } == .noSuchAlias)
        #expect(code { _ = try store.rollBack("tome", reason: "x") } == .noSuchArtifact)
    }

    @Test func whatIsRejectedIsNotPromoted() throws {
        let fixture = try store(versions: 3)
        let store = fixture.store
        _ = try store.promote(ArtifactReference("tone:1"), reason: "good")
        _ = try store.promote(ArtifactReference("tone:2"), reason: "good")
        _ = try store.promote(ArtifactReference("tone:3"), reason: "good")
        #expect(code { _ = try store.setRejected(true, ArtifactReference("tone:3"), reason: "bad") } == .inUse)
        #expect(try store.setRejected(true, ArtifactReference("tone:2"), reason: "it swears"))
        #expect(try !store.setRejected(true, ArtifactReference("tone:2"), reason: "again"))
        let error = #expect(throws: ArtifactError.self) {
            _ = try store.promote(ArtifactReference("tone:2"), reason: "please")
        }
        #expect(error?.code == .rejected && error?.message.contains("it swears") == true)
        // The way back passes it by.
        #expect(try store.rollBack("tone", reason: "worse").now.number == 1)
        #expect(try store.setRejected(false, ArtifactReference("tone:2"), reason: "it does not"))
        #expect(try store.promote(ArtifactReference("tone:2"), reason: "good").before == 1)
    }

    @Test func damageIsPutAwayAndRemembered() throws {
        let fixture = try store(versions: 3)
        let store = fixture.store
        for number in 1...3 { _ = try store.promote(ArtifactReference("tone:\(number)"), reason: "good") }
        let weights = try store.resolve(ArtifactReference("tone:2")).url.appending(path: "adapter_model.safetensors")
        let blob = store.blob(Digest.sha256(Data("weights 2".utf8)))
        #expect(try store.quarantine(store.verify()).isEmpty)
        let good = try Data(contentsOf: weights)
        try StoreFixture.overwrite(weights) { $0[0] ^= 1 }
        let damage = try store.verify()
        #expect(Set(damage.map(\.subject)).contains("tone:2") && damage.contains { $0.path == blob.path })
        let moved = try store.quarantine(damage)
        #expect(moved.count == 1 && moved[0].path.contains("/quarantine/"))
        #expect(try FileTree.status(blob) == nil && FileTree.status(weights) != nil)
        #expect(try store.log(of: "tone").damage(of: 2) != nil)
        // A second look says nothing new.
        #expect(try store.quarantine(store.verify()).isEmpty)
        #expect(try store.log(of: "tone").count { $0.event == .damaged } == 1)
        #expect(code { _ = try store.promote(ArtifactReference("tone:2"), reason: "x") } == .damaged)
        #expect(try store.rollBack("tone", reason: "worse").now.number == 1)
        // The same content published again is whole.
        #expect(try store.verify(fixture.publish("other", "weights 2")).isEmpty)
        try StoreFixture.overwrite(weights) { $0 = good }
        try store.quarantine(store.verify())
        #expect(try store.log(of: "tone").damage(of: 2) == nil)
        #expect(try store.promote(ArtifactReference("tone:2"), reason: "restored").version.number == 2)
        #expect(try store.historyFaults().isEmpty)
    }

    @Test func aVersionThatIsGoneAndWasNotRemovedIsAFault() throws {
        let fixture = try store(versions: 2)
        try FileTree.remove(fixture.store.resolve(ArtifactReference("tone:1")).url)
        let faults = try fixture.store.historyFaults()
        #expect(faults.map(\.kind) == [.lost] && faults[0].subject == "tone:1" && !faults[0].isMendedByNextWrite)
    }
}
