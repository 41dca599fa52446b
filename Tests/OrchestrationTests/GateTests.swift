import Artifacts
import Foundation
import Glibc
import PipelineSpec
import Synchronization
import Testing

@testable import Orchestration

/// What becomes of a gate's verdict: the alias, the log, the job and the queue, with stages that are a script.
@Suite(.timeLimit(.minutes(30))) struct GateTests {
    /// Lets the package stage write a verdict into the record.
    private func say(_ outcome: String, champion: Int? = nil, weights: String? = nil, in space: TestWorkspace) throws {
        let verdict = GateVerdict(
            outcome: try #require(GateVerdict.Outcome(rawValue: outcome)), alias: "production", champion: champion,
            reason: "loss 2 against 3")
        let json = String(decoding: try ProtocolJSON.encode(verdict), as: UTF8.self)
        let more = weights.map { "weights='\($0)'\n" } ?? ""
        try space.behave("package", "record='{\"schema\":1,\"gate\":\(json)}'\n\(more)")
    }

    private func store(_ space: TestWorkspace) -> ArtifactStore { ArtifactStore(space.workspace.artifacts) }

    private func production(_ space: TestWorkspace) throws -> Int? {
        try store(space).aliases(of: "tone")["production"]
    }

    private func night(_ seed: Int, in space: TestWorkspace) async throws -> JobStatus {
        let id = try space.submit("name: tone\ngate: production\nseed: \(seed)\n")
        return try await space.end(of: id)
    }

    @Test func theAliasMovesWithTheEndOfTheJob() async throws {
        let space = try TestWorkspace()
        try say("passed", in: space)
        try await withDaemon(space.configuration()) { _ in
            let first = try await night(1, in: space)
            #expect(first.gate == "passed" && first.reason == "promoted to production: loss 2 against 3", "\(first)")
            #expect(try production(space) == 1)
            try say("failed", champion: 1, in: space)
            let second = try await night(2, in: space)
            #expect(second.state == .succeeded && second.gate == "failed" && second.adapter == "tone:2")
            try say("held", champion: 1, in: space)
            let third = try await night(3, in: space)
            #expect(third.reason?.contains("lorajobs adapters promote tone:3") == true && third.gate == "held")
            let unchanged = try await night(3, in: space)
            #expect(unchanged.reason == "unchanged" && unchanged.gate == nil)
            #expect(try production(space) == 1)
        }
        let log = try store(space).log(of: "tone")
        #expect(log.filter { $0.decision != nil }.map(\.gate) == ["passed", "failed", "held"])
        #expect(log.filter { $0.event == .aliasMoved }.map(\.version) == [1])
        #expect(try Invariants(space.workspace).violations() == [])
    }

    /// A person moved the alias while the gate compared with what it was.
    @Test func whatWasComparedWithSomethingElseIsHeld() async throws {
        let space = try TestWorkspace()
        try await withDaemon(space.configuration()) { _ in
            try say("passed", in: space)
            _ = try await night(1, in: space)
            try say("passed", champion: 1, in: space)
            _ = try await night(2, in: space)
            #expect(try production(space) == 2)
            _ = try store(space).rollBack("tone", reason: "complaints")
            try say("passed", champion: 2, in: space)
            let third = try await night(3, in: space)
            #expect(third.gate == "held" && third.reason?.contains("is version 1 now") == true, "\(third)")
            #expect(try production(space) == 1)
        }
    }

    @Test func whatWasRejectedDoesNotComeBackUnderAnotherNumber() async throws {
        let space = try TestWorkspace()
        try await withDaemon(space.configuration()) { _ in
            try say("passed", weights: "good", in: space)
            _ = try await night(1, in: space)
            try say("passed", champion: 1, weights: "bad", in: space)
            _ = try await night(2, in: space)
            _ = try store(space).rollBack("tone", reason: "it swears")
            _ = try store(space).setRejected(true, ArtifactReference("tone:2"), reason: "it swears")
            try say("passed", champion: 1, weights: "bad", in: space)
            let third = try await night(3, in: space)
            #expect(
                third.gate == "failed" && third.reason?.contains("tone:2, which was rejected: it swears") == true,
                "\(third)")
            #expect(try production(space) == 1)
            let rivals = try store(space).rivals(of: "tone", alias: "production")
            #expect(
                rivals.champion?.number == 1 && rivals.promoted.map(\.number) == [1], "a rejected version sets no mark")
        }
    }

    @Test func aDamagedVersionIsNotPromoted() async throws {
        let space = try TestWorkspace()
        try say("passed", in: space)
        var configuration = space.configuration()
        configuration.retry.firstPause = 0.01
        let adapter = space.root("Artifacts/adapters/tone/1/adapter_model.safetensors").path
        try await Failpoint.withHandler({ point in
            // Between publishing and the end of the job, the disk turns a byte.
            guard point == .attemptSettled, access(adapter, F_OK) == 0 else { return }
            chmod(adapter, 0o644)
            let file = try FileHandle(forWritingTo: URL(filePath: adapter))
            try file.write(contentsOf: Data("W".utf8))
            try file.close()
        }) {
            try await withDaemon(configuration) { _ in
                let first = try await night(1, in: space)
                #expect(first.gate == "held" && first.reason?.contains("damaged") == true, "\(first)")
                #expect(try production(space) == nil)
            }
        }
    }

    /// At each step between the decision and its last trace the daemon dies; the next one makes it whole, once.
    @Test(arguments: [
        Failpoint.decisionCommitted, .aliasMade, .aliasRenamed, .logWritten, .aliasLogged, .decisionFollowed,
    ])
    func aPromotionThatWasInterruptedIsFinishedOnce(_ step: Failpoint) async throws {
        let space = try TestWorkspace()
        try say("passed", in: space)
        let isArmed = Mutex(true)
        await #expect(throws: (any Error).self) {
            try await Failpoint.withHandler({ point in
                guard point == step, access(space.workspace.database.path, F_OK) == 0 else { return }
                // The log is written for the version too; the one that counts follows the decision.
                if point == .logWritten, try space.queue().openDecisions().isEmpty { return }
                let isNow = isArmed.withLock { armed in
                    defer { armed = false }
                    return armed
                }
                if isNow { throw OrchestrationError(.fenced, "the daemon dies at \(step.rawValue)") }
            }) {
                try await withDaemon(space.configuration()) { _ in
                    let id = try space.submit("name: tone\ngate: production\n")
                    _ = try await space.end(of: id)
                    try await eventually("the daemon dies") { !isArmed.withLock { $0 } }
                    try await Task.sleep(for: .milliseconds(200))
                }
            }
        }
        let open = try space.queue().openDecisions()
        #expect(open.count == 1 && open.first?.moves == true, "\(step.rawValue)")
        #expect(try !Invariants(space.workspace).violations().isEmpty, "\(step.rawValue) leaves something to do")
        try await withDaemon(space.configuration()) { _ in
            try await eventually("the store follows") { try space.queue().openDecisions().isEmpty }
        }
        #expect(try production(space) == 1)
        let moves = try store(space).log(of: "tone").filter { $0.event == .aliasMoved }
        #expect(moves.count == 1 && moves.first?.version == 1 && moves.first?.gate == "passed", "\(moves)")
        #expect(try Invariants(space.workspace).violations() == [])
    }

    @Test func aPersonWhoWasFasterWins() throws {
        let space = try TestWorkspace()
        let store = store(space)
        func publish(_ attempt: String) throws {
            let folder = space.root("new-\(attempt)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try Data(attempt.utf8).write(to: folder.appending(path: "adapter_model.safetensors"))
            _ = try store.publish(folder: folder, in: .adapters, name: "tone", attemptID: attempt)
        }
        for attempt in ["a", "b", "c"] { try publish(attempt) }
        _ = try store.promote(ArtifactReference("tone:1"), reason: "by hand")
        let decision = GateDecision(
            id: "D", collection: .adapters, name: "tone", alias: "production", version: 3, digest: "", moves: true,
            from: 1, outcome: "passed", reason: "better", time: Date())
        _ = try store.promote(ArtifactReference("tone:2"), reason: "by hand")
        #expect(try store.follow(decision) == .superseded)
        #expect(try production(space) == 2)
        _ = try store.promote(ArtifactReference("tone:1"), reason: "by hand")
        #expect(try store.follow(decision) == .applied)
        #expect(try store.follow(decision) == .applied)
        #expect(try production(space) == 3)
        #expect(try store.log(of: "tone").count { $0.decision == "D" } == 1)
    }
}
