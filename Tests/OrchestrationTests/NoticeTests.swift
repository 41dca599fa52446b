import Artifacts
import Foundation
import GRDB
import Logging
import PipelineSpec
import Synchronization
import TestSupport
import Testing

@testable import Orchestration

/// Who is told of what, by a server that is really asked and folders that are really written.
@Suite(.timeLimit(.minutes(30))) struct NoticeTests {
    private static let all = NoticeEvent.allCases

    private func hook(_ server: LoopbackServer, _ events: [NoticeEvent] = all, retries: Int = 20) -> NoticeTarget {
        var target = NoticeTarget(.webhook(address: .text(server.address + "/hook")))
        target.events = events
        target.retries = retries
        return target
    }

    private func configuration(_ space: TestWorkspace, _ targets: [String: NoticeTarget])
        -> OrchestrationConfiguration
    {
        var configuration = space.configuration()
        configuration.notify = targets
        configuration.noticePause = 0.02
        let resolve = configuration.resolve
        // A last line `tell: NAME` is the manifest's own wish.
        configuration.resolve = { bytes, tenant in
            var lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
            let wish = lines.last.flatMap { $0.hasPrefix("tell: ") ? String($0.dropFirst(6)) : nil }
            if wish != nil { lines.removeLast() }
            return resolve(Data((lines.joined(separator: "\n") + "\n").utf8), tenant).map { submission in
                var submission = submission
                if let wish {
                    var notify = JobManifest.Notify()
                    notify.to = [wish]
                    notify.on = [.finished]
                    submission.manifest.notify = notify
                }
                return submission
            }
        }
        return configuration
    }

    private func deliveries(_ space: TestWorkspace) throws -> [NoticeDelivery] {
        let queue = try space.queue()
        defer { try? queue.close() }
        return try queue.noticeDeliveries()
    }

    private func documents(_ server: LoopbackServer) throws -> [JSONValue] {
        try server.requests.map { try ProtocolJSON.decode(JSONValue.self, from: $0.body) }
    }

    private func say(_ outcome: String, in space: TestWorkspace) throws {
        let verdict = GateVerdict(
            outcome: try #require(GateVerdict.Outcome(rawValue: outcome)), alias: "production", champion: nil,
            reason: "loss 2 against 3")
        let json = String(decoding: try ProtocolJSON.encode(verdict), as: UTF8.self)
        try space.behave("package", "record='{\"schema\":1,\"gate\":\(json)}'\n")
    }

    @Test func aTargetThatIsDownIsSpokenOfOnce() async throws {
        let space = try TestWorkspace()
        let server = try LoopbackServer { number, _ in .status(number < 8 ? 503 : 200) }
        defer { server.stop() }
        let recorder = Recorder()
        var configuration = configuration(space, ["hook": hook(server)])
        configuration.logger = Logger(label: "test") { _ in recorder }
        try await withDaemon(configuration) { _ async throws -> Void in
            for seed in 1...3 { _ = try await space.end(of: space.submit("name: tone\nseed: \(seed)\n")) }
            try await eventually("all are delivered") {
                try deliveries(space).count == 3 && deliveries(space).allSatisfy { $0.state == .delivered }
            }
        }
        let lines = recorder.lines.all.withLock { $0 }
        #expect(lines.count { $0.hasPrefix("a notice could not be delivered yet") } == 1, "\(lines)")
        #expect(lines.count { $0.hasPrefix("notices are delivered again") } == 1, "\(lines)")
    }

    @Test func everyEventIsToldOnceThoughTheServerRefusesAtFirst() async throws {
        let space = try TestWorkspace()
        let server = try LoopbackServer { number, _ in .status(number < 4 ? 503 : 200) }
        defer { server.stop() }
        let folder = space.root("told").path
        let targets = ["hook": hook(server), "folder": NoticeTarget(.folder(folder))]
        try await withDaemon(configuration(space, targets)) { _ in
            try say("passed", in: space)
            let good = try space.submit("name: tone\ngate: production\n")
            _ = try await space.end(of: good)
            try say("held", in: space)
            _ = try await space.end(of: space.submit("name: tone\ngate: production\nseed: 2\n"))
            try space.behave("train", "fail 65 bad_record the_label_SECRET_is_unknown\n")
            _ = try await space.end(of: space.submit("name: other\nseed: 3\n"))
            try space.submit("nmae: tone\n", name: "slip.yaml")
            try await eventually("all is told") {
                let found = try deliveries(space)
                return found.count == 12 && found.allSatisfy { $0.state == .delivered }
            }
        }
        // Told again with the same id until it was taken.
        let documents = try documents(server)
        #expect(documents.count == 9, "six, and three that were refused")
        let unique = Dictionary(documents.map { ($0["id"] ?? .null, $0) }, uniquingKeysWith: { first, _ in first })
        #expect(unique.count == 6)
        #expect(documents.allSatisfy { unique[$0["id"] ?? .null] == $0 }, "a try differs from the one before")
        func one(_ event: String) throws -> JSONValue {
            try #require(unique.values.first { $0["event"] == .string(event) })
        }
        let promoted = try one("promoted")
        #expect(promoted["promotion"]?["alias"] == "production" && promoted["promotion"]?["version"] == 1)
        #expect(promoted["promotion"]?["cause"] == "gate" && promoted["job"]?["adapter"] == "tone:1")
        let held = try one("gate_failed")
        #expect(held["gate"]?["outcome"] == "held" && held["gate"]?["version"] == 2 && held["job"]?["name"] == "tone")
        let failed = try one("failed")
        #expect(failed["failure"] == ["stage": "train", "code": "bad_record", "class": "permanent"])
        #expect(failed["job"]?["state"] == "failed" && failed["schema"] == 1)
        let rejected = try one("rejected")
        #expect(rejected["rejection"]?["file"] == "slip.yaml" && rejected["job"] == nil)
        guard case .array(let findings)? = rejected["rejection"]?["findings"] else {
            Issue.record("no findings in \(rejected)")
            return
        }
        #expect(findings.count == 1 && findings[0]["code"] == "missing_key")
        // What a stage says of a record may quote it, and stays here.
        for document in documents { #expect(!document.text().contains("SECRET"), "\(document.text())") }
        for request in server.requests {
            #expect(request.method == "POST" && request.path == "/hook")
            #expect(request.headers["content-type"] == "application/json")
            let document = try ProtocolJSON.decode(JSONValue.self, from: request.body)
            #expect(request.headers["x-lorajobs-delivery"].map { .string($0) } == document["id"])
            #expect(request.headers["x-lorajobs-event"].map { .string($0) } == document["event"])
        }
        // The same in the folder, each a whole file.
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(files.count == 6 && files.allSatisfy { $0.hasSuffix(".json") && !$0.hasPrefix(".") }, "\(files)")
        let written = try Set(
            files.map {
                try ProtocolJSON.decode(
                    JSONValue.self, from: Data(contentsOf: URL(filePath: folder).appending(path: $0)))
            })
        #expect(written == Set(unique.values))
        #expect(try Invariants(space.workspace).violations() == [])
    }

    @Test func theNextDaemonTellsWhatThisOneCouldNot() async throws {
        let space = try TestWorkspace()
        let port: UInt16
        let target: NoticeTarget
        do {
            let server = try LoopbackServer { _, _ in .status(500) }
            (port, target) = (server.port, hook(server))
            try await withDaemon(configuration(space, ["hook": target])) { _ in
                _ = try await space.end(of: space.submit("name: tone\n"))
                try await eventually("it is tried") { try deliveries(space).first.map { $0.tries > 1 } ?? false }
            }
            server.stop()
        }
        let before = try deliveries(space)
        #expect(before.map(\.state) == [.pending] && before.first?.answer == "HTTP 500")
        // With nobody there at all it is tried too.
        try await withDaemon(configuration(space, ["hook": target])) { _ in
            try await eventually("it is tried") { try deliveries(space)[0].answer?.contains("curl:") == true }
        }
        let server = try LoopbackServer(port: port) { _, _ in .status(204) }
        defer { server.stop() }
        try await withDaemon(configuration(space, ["hook": target])) { _ in
            try await eventually("it is told") { try deliveries(space).map(\.state) == [.delivered] }
        }
        #expect(server.requests.count == 1)
        #expect(try deliveries(space)[0].tries > before[0].tries)
    }

    /// Dies after the receiver has it and before that is noted: told again, with the same id.
    @Test func aDeliveryThatWasNotNotedIsMadeAgain() async throws {
        let space = try TestWorkspace()
        let server = try LoopbackServer { _, _ in .status(200) }
        defer { server.stop() }
        let deaths = Mutex<Set<Failpoint>>([])
        try await Failpoint.withHandler({ point in
            guard point == .noticeSent || point == .noticeBegun else { return }
            if deaths.withLock({ $0.insert(point).inserted }) { throw FailpointReached(point) }
        }) {
            try await withDaemon(configuration(space, ["hook": hook(server, [.finished])])) { _ in
                _ = try await space.end(of: space.submit("name: tone\n"))
                try await eventually("it is noted") { try deliveries(space).map(\.state) == [.delivered] }
            }
        }
        let ids = Set(try documents(server).compactMap { $0["id"] })
        #expect(server.requests.count == 2 && ids.count == 1)
        #expect(try deliveries(space)[0].tries == 3)
    }

    @Test func aSlowReceiverDelaysNeitherJobsNorOthers() async throws {
        let space = try TestWorkspace()
        let slow = try LoopbackServer { _, _ in .silence }
        let quick = try LoopbackServer { _, _ in .status(200) }
        defer {
            slow.stop()
            quick.stop()
        }
        var patient = hook(slow)
        patient.timeoutSeconds = 300
        let targets = ["slow": patient, "quick": hook(quick)]
        try await withDaemon(configuration(space, targets)) { _ in
            for seed in 1...3 { _ = try await space.end(of: space.submit("name: tone\nseed: \(seed)\n")) }
            try await eventually("the quick one has it all") { quick.requests.count == 3 }
            // Three jobs and one open request: the daemon has not waited, and asks one thing at a time.
            #expect(slow.requests.count == 1)
            let states = try deliveries(space).filter { $0.target == "slow" }.map(\.state)
            #expect(states == [.pending, .pending, .pending])
        }
    }

    @Test func itGivesUpAfterSoManyTriesUntilSomebodyAsks() async throws {
        let space = try TestWorkspace()
        let isKind = Mutex(false)
        let server = try LoopbackServer { _, _ in .status(isKind.withLock { $0 } ? 200 : 301) }
        defer { server.stop() }
        try await withDaemon(configuration(space, ["hook": hook(server, [.finished], retries: 2)])) { daemon in
            _ = try await space.end(of: space.submit("name: tone\n"))
            try await eventually("it is given up") { try deliveries(space).map(\.state) == [.failed] }
            #expect(server.requests.count == 3)
            #expect(try deliveries(space)[0].answer == "HTTP 301; it is not followed to another address")
            isKind.withLock { $0 = true }
            #expect(try space.queue().retryNotices(["finished/none"]) == 0)
            #expect(try space.queue().retryNotices() == 1)
            daemon.poke()
            try await eventually("it is told") { try deliveries(space).map(\.state) == [.delivered] }
            #expect(try space.queue().retryNotices() == 0)
        }
        #expect(server.requests.count == 4)
    }

    @Test func onlyWhoAsksIsTold() async throws {
        let space = try TestWorkspace()
        let folder = space.root("told").path
        var onRequest = NoticeTarget(.folder(folder))
        onRequest.events = []
        var ofFailures = NoticeTarget(.folder(space.root("failures").path))
        ofFailures.events = [.failed]
        let targets = ["asked": onRequest, "failures": ofFailures]
        try await withDaemon(configuration(space, targets)) { _ in
            _ = try await space.end(of: space.submit("name: tone\n"))
            let told = try space.submit("name: tone\nseed: 2\ntell: asked\n")
            _ = try await space.end(of: told)
            _ = try await space.end(of: space.submit("name: tone\nseed: 3\ntell: gone\n"))
            try await eventually("all is settled") {
                let queue = try space.queue()
                defer { try? queue.close() }
                return try !queue.hasNotices() && queue.noticeDeliveries().count == 2
            }
            let found = try deliveries(space)
            #expect(found.map(\.target) == ["asked", "gone"] && found.map(\.state) == [.delivered, .failed])
            #expect(found[0].notice == "finished/\(told)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
        #expect(!FileManager.default.fileExists(atPath: space.root("failures").path))
    }

    @Test func withoutTargetsNothingIsWrittenDown() async throws {
        let space = try TestWorkspace()
        try await withDaemon(space.configuration()) { _ in
            _ = try await space.end(of: space.submit("name: tone\n"))
        }
        #expect(try space.queue().read { try Int.fetchOne($0, sql: "SELECT count(*) FROM notice") } == 0)
        // Nor is what happened before there were any told when there are.
        try await withDaemon(configuration(space, ["folder": NoticeTarget(.folder(space.root("told").path))])) { _ in
            _ = try await space.end(of: space.submit("name: tone\nseed: 2\n"))
            try await eventually("it is told") { try deliveries(space).map(\.state) == [.delivered] }
        }
    }

    @Test func aRunInTheForegroundTellsToo() async throws {
        let space = try TestWorkspace()
        let folder = space.root("told").path
        let run = ForegroundRun(configuration(space, ["folder": NoticeTarget(.folder(folder))]))
        _ = try await run.run(Data("name: tone\n".utf8), name: "tone.yaml")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
    }

    @Test func anAliasMovedByHandIsTold() async throws {
        let space = try TestWorkspace()
        let folder = space.root("told").path
        var target = NoticeTarget(.folder(folder))
        target.events = [.promoted]
        try await withDaemon(configuration(space, ["folder": target])) { daemon in
            _ = try await space.end(of: space.submit("name: tone\n"))
            for before in [nil, 1] {
                let moved = try GateDecisions.promote(
                    ArtifactReference("tone:1"), alias: "production", reason: "it is good", in: space.workspace)
                #expect(moved.version.number == 1 && moved.before == before)
            }
            daemon.poke()
            try await eventually("it is told") { try deliveries(space).map(\.state) == [.delivered] }
        }
        let document = try #require(try documents(folder).first)
        #expect(document["promotion"]?["cause"] == "hand" && document["promotion"]?["version"] == 1)
        #expect(document["promotion"]?["before"] == .null && document["promotion"]?["reason"] == "it is good")
        #expect(document["job"] == nil && document["gate"] == nil)
    }

    private func documents(_ folder: String) throws -> [JSONValue] {
        try FileManager.default.contentsOfDirectory(atPath: folder).filter { !$0.hasPrefix(".") }.sorted().map {
            try ProtocolJSON.decode(JSONValue.self, from: Data(contentsOf: URL(filePath: folder).appending(path: $0)))
        }
    }

    /// At each step between the decision and its last trace the person's program dies; the next one makes it whole, and
    /// it is told once.
    @Test(arguments: [
        Failpoint.moveRecorded, .aliasMade, .aliasRenamed, .logWritten, .aliasLogged, .decisionFollowed,
    ])
    func aMoveThatWasInterruptedIsToldOnce(_ step: Failpoint) async throws {
        let space = try TestWorkspace()
        let folder = space.root("told").path
        var target = NoticeTarget(.folder(folder))
        target.events = [.promoted]
        let configuration = configuration(space, ["folder": target])
        try await withDaemon(configuration) { _ in
            for seed in 1...2 { _ = try await space.end(of: space.submit("name: tone\nseed: \(seed)\n")) }
        }
        let store = ArtifactStore(space.workspace.artifacts)
        _ = try store.promote(ArtifactReference("tone:1"), reason: "by hand")
        let isArmed = Mutex(true)
        #expect(throws: OrchestrationError.self) {
            try Failpoint.withHandler({ point in
                guard point == step, isArmed.withLock({ $0 }) else { return }
                isArmed.withLock { $0 = false }
                throw OrchestrationError(.fenced, "the program dies at \(step.rawValue)")
            }) {
                _ = try GateDecisions.promote(
                    ArtifactReference("tone:2"), alias: "production", reason: "better", in: space.workspace)
            }
        }
        #expect(try space.queue().openDecisions().map(\.version) == [2] && !isArmed.withLock { $0 })
        #expect(try !Invariants(space.workspace).violations().isEmpty, "\(step.rawValue) leaves something to do")
        let back = try GateDecisions.rollBack(
            "tone", alias: "production", to: nil, reason: "worse", in: space.workspace)
        #expect(back.version.number == 1 && back.before == 2)
        try await withDaemon(configuration) { _ in
            try await eventually("both are told") { try deliveries(space).map(\.state) == [.delivered, .delivered] }
        }
        let told = try documents(folder).compactMap { $0["promotion"] }
        #expect(Set(told.compactMap { $0["cause"] }) == ["hand", "rollback"] && told.count == 2, "\(told)")
        let moves = try store.log(of: "tone").filter { $0.event == .aliasMoved }
        #expect(moves.map(\.version) == [1, 2, 1] && moves.allSatisfy { $0.gate == nil }, "\(moves)")
        #expect(try Invariants(space.workspace).violations() == [])
    }

    /// A daemon that starts does what a person's program died of, and a move that came to nothing is told to nobody.
    @Test func aDaemonFinishesWhatAPersonDecided() async throws {
        let space = try TestWorkspace()
        let folder = space.root("told").path
        var target = NoticeTarget(.folder(folder))
        target.events = [.promoted]
        let configuration = configuration(space, ["folder": target])
        try await withDaemon(configuration) { _ in
            for seed in 1...2 { _ = try await space.end(of: space.submit("name: tone\nseed: \(seed)\n")) }
        }
        let store = ArtifactStore(space.workspace.artifacts)
        func decide(_ version: Int, _ alias: String) throws {
            let (_, decision) = try store.decidePromotion(
                ArtifactReference("tone:\(version)"), alias: alias, reason: "better", id: "\(alias)-\(version)")
            try space.queue().record(decision)
        }
        try decide(1, "production")
        try decide(2, "night")
        // Somebody makes the link in the meantime, with other tools.
        let home = space.workspace.artifacts.appending(path: "adapters/tone")
        try FileManager.default.createSymbolicLink(
            atPath: home.appending(path: "night").path, withDestinationPath: "1")
        try await withDaemon(configuration) { _ in
            try await eventually("it is told") { try deliveries(space).map(\.state) == [.delivered] }
        }
        #expect(try store.aliases(of: "tone") == ["production": 1, "night": 1])
        #expect(try documents(folder).map { $0["promotion"]?["alias"] } == ["production"])
        #expect(try space.queue().openDecisions().isEmpty)
    }

    @Test func secretsAreSentAndNeverSaid() async throws {
        let space = try TestWorkspace()
        let server = try LoopbackServer { number, _ in number == 1 ? .silence : .status(200) }
        defer { server.stop() }
        try Data("t\"o\\ken-of-4711\n".utf8).write(to: space.root("token"))
        try Data("the key\nand more\n".utf8).write(to: space.root("key"))
        try Data("\(server.address)/services/HIDDEN?a=b\n".utf8).write(to: space.root("address"))
        var target = NoticeTarget(.webhook(address: .secret(.file(space.root("address").path))))
        target.token = .file(space.root("token").path)
        target.signingKey = .variable("HOOK_KEY")
        target.timeoutSeconds = 1
        var sender = NoticeSender()
        let body = #"{"text":"a \"quoted\" back\\slash, tab\t and ümlaut","schema":1}"#
        func send(_ target: NoticeTarget) async -> NoticeSender.Answer {
            await sender.send(body, id: "finished/X", event: "finished", at: Date(), to: target)
        }
        #expect(await send(target) == .init(isDelivered: false, text: "the daemon's environment has no HOOK_KEY"))
        sender.environment["HOOK_KEY"] = "the key"
        let late = await send(target)
        #expect(!late.isDelivered && late.text.contains("timed out"), "\(late)")
        let good = await send(target)
        #expect(good == .init(isDelivered: true, text: "HTTP 200"))
        target.signingKey = .file(space.root("key").path)
        _ = await send(target)
        // Nobody listens there: what curl says names no path.
        try Data("http://127.0.0.1:1/services/HIDDEN\n".utf8).write(to: space.root("address"))
        let nobody = await send(target)
        #expect(!nobody.isDelivered && nobody.text.contains("curl: (7)"), "\(nobody)")
        for answer in [late, good, nobody] {
            for secret in ["HIDDEN", "4711", "the key"] { #expect(!answer.text.contains(secret), "\(answer)") }
        }
        sender.curl = "no-such-curl"
        #expect(await send(target).text.contains("there is no curl"))

        #expect(server.requests.count == 3)
        for request in server.requests {
            #expect(request.path == "/services/HIDDEN?a=b")
            #expect(request.headers["authorization"] == #"Bearer t"o\ken-of-4711"#)
            #expect(String(decoding: request.body, as: UTF8.self) == body)
            let code = Digest.authenticationCode(of: request.body, key: Data("the key".utf8))
            #expect(request.headers["x-lorajobs-signature-256"] == "sha256=\(code)")
        }
    }

    /// Test case 2 of RFC 4231.
    @Test func authenticationCodesAreThoseOfTheStandard() {
        let code = Digest.authenticationCode(
            of: Data("what do ya want for nothing?".utf8), key: Data("Jefe".utf8))
        #expect(code == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    }

    @Test func aFileHasItsPlaceWhateverTheIdHolds() async throws {
        let folder = try TemporaryFolder()
        let sender = NoticeSender()
        let target = NoticeTarget(.folder(folder.url.appending(path: "a/b").path))
        for _ in 1...2 {
            let answer = await sender.send(
                "{}", id: "rejected/../..//x:\u{7}ä", event: "rejected", at: Date(timeIntervalSince1970: 0), to: target)
            #expect(answer.text == "wrote 1970-01-01T00-00-00Z__rejected-..-..--x---.json" && answer.isDelivered)
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.appending(path: "a/b").path).count == 1)
        try Data().write(to: folder.url.appending(path: "file"))
        let wrong = NoticeTarget(.folder(folder.url.appending(path: "file").path))
        let answer = await sender.send("{}", id: "x", event: "failed", at: Date(), to: wrong)
        #expect(!answer.isDelivered && answer.text.contains("cannot"))
    }
}
