import Artifacts
import Foundation
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// A line of the store's log that cannot be read: it costs what reads it, and nothing else.
@Suite(.timeLimit(.minutes(30))) struct DamagedLogTests {
    private func say(_ outcome: String, champion: Int? = nil, in space: TestWorkspace) throws {
        let verdict = GateVerdict(
            outcome: try #require(GateVerdict.Outcome(rawValue: outcome)), alias: "production", champion: champion,
            reason: "loss 2 against 3")
        let json = String(decoding: try ProtocolJSON.encode(verdict), as: UTF8.self)
        try space.behave("package", "record='{\"schema\":1,\"gate\":\(json)}'\n")
    }

    private func log(_ space: TestWorkspace) -> URL { space.root("Artifacts/adapters/tone/log.jsonl") }
    private func store(_ space: TestWorkspace) -> ArtifactStore { ArtifactStore(space.workspace.artifacts) }

    /// A workspace in which `tone:1` was promoted.
    private func workspace() async throws -> TestWorkspace {
        let space = try TestWorkspace()
        try say("passed", in: space)
        let id = try space.submit("name: tone\ngate: production\n")
        try await withDaemon(space.configuration()) { _ in _ = try await space.end(of: id) }
        #expect(try store(space).aliases(of: "tone")["production"] == 1)
        return space
    }

    /// Overwrites a line, counted from 0.
    private func damage(_ line: Int, in space: TestWorkspace) throws {
        var lines = try String(contentsOf: log(space), encoding: .utf8).split(separator: "\n").map(String.init)
        lines[line] = "{\"event\":\"ali"
        try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: log(space))
    }

    @Test func itCostsTheJobThatReadsItAndNoOther() async throws {
        let space = try await workspace()
        try damage(0, in: space)
        try say("passed", champion: 1, in: space)
        let id = try space.submit("name: tone\ngate: production\nseed: 2\n")
        // Tokens of its own, or the first would find those in the cache and get further.
        let other = try space.submit("name: other\nseed: 3\nsample: 0.5\n", name: "other.yaml")
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            #expect(try await space.end(of: other).state == .succeeded)
            let end = try await space.end(of: id)
            #expect(end.state == .failed && end.reason?.contains("log.jsonl:1") == true, "\(end)")
            #expect(end.reason?.contains("lorajobs doctor --repair") == true)
        }
        // Nothing is begun that cannot go on, and no attempt is made up.
        let attempts = try space.queue().show(id).stages.flatMap(\.attempts)
        #expect(attempts.allSatisfy { $0.state == .succeeded || $0.exitCode == 0 && $0.number == 1 }, "\(attempts)")
        // In the foreground too: the job ends, and no error comes out of the run. Its first stage, which is not cached, is
        // compared with production, and does not begin.
        try Data("{\"text\":\"b\"}\n".utf8).write(to: space.root("data/b.jsonl"))
        let run = ForegroundRun(space.configuration())
        let status = try await run.run(Data("name: tone\ngate: production\nseed: 4\n".utf8), name: "tone.yaml")
        #expect(status.state == .failed && status.reason?.contains("log.jsonl:1") == true, "\(status)")
        #expect(try space.queue().show(status.id).stages.flatMap(\.attempts).isEmpty)
    }

    @Test func aProductThatCannotBePublishedFailsItsJob() async throws {
        let space = try await workspace()
        try space.behave("package", "echo broken >> \"$root/Artifacts/adapters/tone/log.jsonl\"\n")
        let id = try space.submit("name: tone\nseed: 2\n")
        let other = try space.submit("name: other\nseed: 3\n", name: "other.yaml")
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            let end = try await space.end(of: id)
            #expect(end.state == .failed && end.reason?.contains("log.jsonl:3") == true, "\(end)")
            try space.behave("package", "")
            _ = try await space.end(of: other)
        }
        // What was trained is there, and a retry begins behind it.
        _ = try Doctor(space.configuration()).repair { _ in }
        let again = try space.queue().retry(id)
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            let end = try await space.end(of: again)
            #expect(end.state == .succeeded && end.adapter == "tone:2", "\(end)")
        }
        #expect(try space.queue().show(again).stages.map(\.state) == [.cached, .cached, .skipped, .succeeded])
    }

    @Test func anEndThatCannotBeDecidedWaitsAndSaysWhy() async throws {
        let space = try await workspace()
        try say("passed", champion: 1, in: space)
        let isArmed = Mutex(true)
        let second = space.root("Artifacts/adapters/tone/2").path
        let log = log(space)
        try await Failpoint.withHandler({ point in
            guard point == .attemptSettled, access(second, F_OK) == 0 else { return }
            let isNow = isArmed.withLock { armed in
                defer { armed = false }
                return armed
            }
            guard isNow else { return }
            let file = try FileHandle(forWritingTo: log)
            try file.seekToEnd()
            try file.write(contentsOf: Data("broken\n".utf8))
            try file.close()
        }) {
            try await withDaemon(space.configuration()) { _ async throws -> Void in
                let id = try space.submit("name: tone\ngate: production\nseed: 2\n")
                let other = try space.submit("name: other\nseed: 3\n", name: "other.yaml")
                try await eventually("it is held") { (try? space.status(id).state) == .held }
                let held = try space.status(id)
                #expect(held.reason?.contains("log.jsonl:4") == true, "\(held)")
                #expect(held.reason?.contains("lorajobs release \(id)") == true, "\(held)")
                #expect(try await space.end(of: other).state == .succeeded)
            }
        }
        let id = try #require(try space.queue().list().first { $0.state == .held }?.id)
        _ = try Doctor(space.configuration()).repair { _ in }
        try space.queue().release(id)
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            let end = try await space.end(of: id)
            #expect(end.state == .succeeded && end.gate == "passed" && end.adapter == "tone:2", "\(end)")
        }
        #expect(try store(space).aliases(of: "tone")["production"] == 2)
        #expect(try Invariants(space.workspace).violations() == [])
    }

    @Test(arguments: [0, 1]) func doctorNamesItOnceAndWritesItAgain(_ line: Int) async throws {
        let space = try await workspace()
        let before = try store(space).log(of: "tone")
        #expect(before.map(\.event) == [.published, .aliasMoved])
        try damage(line, in: space)
        try Data("{}\n".utf8).write(to: space.root("data/b.jsonl"))
        let rows = try space.queue().unfiledIntake()
        #expect(rows.isEmpty)
        // Something else that is wrong is told beside it.
        let filed = try #require(space.files(space.workspace.accepted, ending: ".receipt.json").first)
        unlink(space.workspace.accepted.appending(path: filed).path)
        let doctor = Doctor(space.configuration())
        let found = doctor.examine().filter { $0.kind == .data && $0.verdict == .problem }
        #expect(found.map(\.code) == ["I5", "I8"], "\(found)")
        #expect(found.first?.message.contains("log.jsonl:\(line + 1)") == true, "\(found)")
        #expect(found.allSatisfy { $0.advice == "lorajobs doctor --repair" }, "\(found)")
        var told: [String] = []
        let count = try doctor.repair { told.append($0) }
        #expect(count == 2 && told.first?.contains("Artifacts/quarantine") == true, "\(told)")
        #expect(try store(space).log(of: "tone") == before)
        #expect(space.files(space.root("Artifacts/quarantine")).count == 1)
        #expect(try Invariants(space.workspace).violations() == [])
        // The next version has the next number, and the gate finds what was promoted.
        try say("passed", champion: 1, in: space)
        let id = try space.submit("name: tone\ngate: production\nseed: 2\n")
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            let end = try await space.end(of: id)
            #expect(end.adapter == "tone:2" && end.gate == "passed", "\(end)")
        }
    }

    /// A decision that the store cannot follow stays open, and the daemon starts and works all the same.
    @Test func aDecisionOfADamagedNameKeepsNobodyElse() async throws {
        let space = try await workspace()
        let job = try space.submit("name: plain\n")
        try await withDaemon(space.configuration()) { _ async throws -> Void in _ = try await space.end(of: job) }
        let queue = try space.queue()
        try queue.write { db in
            try queue.record(
                db,
                GateDecision(
                    id: ULID().description, collection: .adapters, name: "tone", alias: "production", version: 1,
                    digest: "", moves: false, from: 1, outcome: "failed", reason: "worse", time: Date()), of: job)
        }
        try damage(0, in: space)
        let other = try space.submit("name: other\n")
        try await withDaemon(space.configuration()) { _ async throws -> Void in
            #expect(try await space.end(of: other).state == .succeeded)
        }
        #expect(try queue.openDecisions().count == 1)
        _ = try Doctor(space.configuration()).repair { _ in }
        #expect(try queue.openDecisions().isEmpty)
        #expect(try Invariants(space.workspace).violations() == [])
    }
}
