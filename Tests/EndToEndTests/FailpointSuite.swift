import Foundation
import GRDB
import PipelineSpec
import Synchronization
import TestSupport
import Testing

/// Every failpoint, met by the real programs in each way something can go wrong there: the daemon is started again,
/// and nothing is lost, nothing is done twice, and every invariant holds.
@Suite(.serialized, .timeLimit(.minutes(30))) struct FailpointSuite {
    /// Points that no job gets to: tried elsewhere.
    static let elsewhere: Set<Failpoint> = [
        // `CollectTests`: no daemon collects.
        .collectLogged, .collectMoved,
        // `firing`: it needs a schedule whose time has passed.
        .scheduleFired,
        // `telling`: it needs somebody who is told.
        .noticeBegun, .noticeSent,
        // `NotifyVerbTests`: it needs a person.
        .moveRecorded,
    ]
    static let points = Failpoint.allCases.filter { !elsewhere.contains($0) }
    /// Points where each hit is another place in the life of a job.
    static let shared: Set<Failpoint> = [.fileWritten, .fileFlushed, .fileRenamed, .queueCommitting, .queueCommitted]

    /// Lets a job through without harm, and counts what it comes by.
    private func census() async throws -> [Failpoint: Int]? {
        guard let run = try await Survival.make("census") else { return nil }
        try run.drop(run.manifest("tone"), as: "tone.yaml")
        try await run.live()
        try run.expectSound()
        return run.hits()
    }

    @Test func everyPointIsOnTheWayOfAJob() async throws {
        guard let hits = try await census() else { return }
        for point in Self.points { #expect(hits[point, default: 0] > 0, "nothing comes by \(point.rawValue)") }
    }

    /// `kill -9` at every point, and at every hit of those that are many places in one.
    @Test func killed() async throws {
        guard let hits = try await census() else { return }
        var cases: [(point: Failpoint, hit: Int)] = []
        for point in Self.points {
            let all = hits[point, default: 0]
            let count = Soak.isOn || [.queueCommitting, .queueCommitted].contains(point) ? all : min(all, 3)
            cases += (1...max(1, count)).map { (point, $0) }
        }
        let deaths = Mutex(0)
        try await inTurns(cases) { point, hit in
            let label = "\(point.rawValue)=kill@\(hit)"
            guard let run = try await Survival.make(label) else { return }
            try run.drop(run.manifest("tone"), as: "tone.yaml")
            try await run.live(label)
            try run.expectSound()
            #expect(run.hits()[point, default: 0] >= hit, "\(label) was not reached")
            deaths.withLock { $0 += run.deaths.count }
        }
        FileHandle.standardError.write(Data("killed: \(cases.count) cases, \(deaths.withLock { $0 }) daemons\n".utf8))
    }

    /// Groups of points that fail one after the other on the way of a few jobs.
    private static let groups: [String: [Failpoint]] = [
        "file": points.filter { $0.rawValue.hasPrefix("file.") },
        "intake": points.filter { $0.rawValue.hasPrefix("intake.") },
        "queue": points.filter { $0.rawValue.hasPrefix("queue.") },
        "attempt": points.filter { $0.rawValue.hasPrefix("attempt.") || $0.rawValue.hasPrefix("job.") },
        "worker": points.filter { $0.rawValue.hasPrefix("worker.") || $0.rawValue.hasPrefix("checkpoint.") },
        "store": points.filter {
            ["finalise.", "store.", "cache."].contains(where: $0.rawValue.hasPrefix)
        },
        "gate": points.filter { $0.rawValue.hasPrefix("decision.") || $0.rawValue.hasPrefix("alias.") },
    ]

    @Test func everyPointIsInAGroup() {
        let grouped = Set(Self.groups.values.flatMap { $0 })
        for point in Self.points { #expect(grouped.contains(point), "\(point.rawValue) is in no group") }
    }

    /// Each point of a group fails once; of those that are many places, every fourth hit does.
    @Test(arguments: ["throw", "enospc", "eio", "delay"])
    func failing(_ action: String) async throws {
        try await inTurns(Self.groups.sorted { $0.key < $1.key }, atOnce: 3) { name, points in
            guard let run = try await Survival.make("\(name) \(action)") else { return }
            let orders = points.flatMap { point in
                let hits = Self.shared.contains(point) ? Array(stride(from: 1, through: 25, by: 4)) : [1]
                return hits.map { "\(point.rawValue)=\(action == "delay" ? "delay:100" : action)@\($0)" }
            }
            for number in 1...3 {
                try run.drop(run.manifest("tone-\(number)", seed: number), as: "tone-\(number).yaml")
            }
            try run.drop("nmae: tone\n", as: "broken.yaml")
            try await run.live(orders.joined(separator: ";"))
            try run.expectSound()
            let hits = run.hits()
            for point in points { #expect(hits[point, default: 0] > 0, "\(name) \(action): \(point.rawValue)") }
        }
    }

    /// An occurrence that passed while no daemon ran makes one job, whatever happens to the daemon that finds it.
    @Test func firing() async throws {
        let killed = (1...4).flatMap { ["queue.committing=kill@\($0)", "queue.committed=kill@\($0)"] }
        let fired = ["kill", "throw", "enospc", "eio", "delay"].map { "schedule.fired=\($0)@1" }
        try await inTurns(killed + fired) { orders in
            guard let run = try await Survival.make(orders) else { return }
            // Half an hour ago, by a clock without summer time.
            let minutes = (Int(Date().timeIntervalSince1970) / 60 - 30) % 1440
            let schedule =
                "schedule: {cron: \"\(minutes % 60) \(minutes / 60) * * *\", time_zone: UTC, catch_up: latest}\n"
            try run.shop.write(run.manifest("tone") + schedule, to: "Jobs/schedules/nightly.yaml")
            func count(_ table: String) throws -> Int {
                try run.query { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") } ?? 0
            }
            try await run.live { _ in try !run.hasDatabase || count("schedule") == 0 }
            try run.update("UPDATE schedule SET evaluated_ms = evaluated_ms - 3600000")
            try await run.live(orders) { _ in try count("job") == 0 }
            try run.expectSound()
            #expect(try count("job") == 1 && count("schedule_fire") == 1, "\(orders)")
            if orders.hasPrefix("schedule") { #expect(run.hits()[.scheduleFired] ?? 0 > 0, "\(orders)") }
        }
    }

    /// Whoever is to be told is told, of each thing in one file, whatever happens to the daemon meanwhile.
    @Test func telling() async throws {
        let points: [Failpoint] = [.noticeBegun, .noticeSent]
        let orders = points.flatMap { point in
            ["kill@1", "kill@2", "throw@1", "enospc@1", "eio@2", "delay:50@1"].map { "\(point.rawValue)=\($0)" }
        }
        try await inTurns(orders + ["notice.begun=kill@3;notice.sent=kill@1", "file.renamed=kill@2"]) { order in
            guard let run = try await Survival.make(order) else { return }
            let settings = try run.shop.text("lorajobs.yaml")
            try run.shop.write(settings + "notify: {board: {folder: told, retries: 50}}\n", to: "lorajobs.yaml")
            try run.drop(run.manifest("tone"), as: "tone.yaml")
            try run.drop("nmae: tone\n", as: "broken.yaml")
            // Finished, promoted and rejected, each delivered.
            try await run.live(order) { _ in
                guard run.hasDatabase else { return true }
                return try run.query {
                    try Int.fetchOne($0, sql: "SELECT count(*) FROM notice_delivery WHERE state = 'delivered'")
                } != 3
            }
            try run.expectSound()
            let told = try run.shop.names(in: "told").filter { !$0.hasPrefix(".") }
            #expect(told.count == 3, "\(order): \(told)")
            for event in ["finished", "promoted", "rejected"] {
                #expect(told.count { $0.contains("__\(event)-") } == 1, "\(order): \(told)")
            }
            for name in told { #expect(try run.shop.json("told/\(name)")["schema"] == 1) }
            if order.hasPrefix("notice") { #expect(run.hits()[.noticeBegun] ?? 0 >= 3, "\(order)") }
        }
    }

    /// What `submit` leaves when it is stopped: nothing that counts, or a whole file.
    @Test func submitting() async throws {
        guard let run = try await Survival.make("submit") else { return }
        var whole = 0
        for action in ["kill", "throw", "enospc", "eio", "delay:50"] {
            for point in [Failpoint.fileWritten, .fileFlushed, .fileRenamed] {
                let name = "\(action.prefix(5).replacing(":", with: ""))-\(point.rawValue.replacing(".", with: "-"))"
                try run.shop.write(run.manifest(name), to: "\(name).yaml")
                var program = run.shop.program
                program.environment["LORAJOBS_FAILPOINTS"] = "\(point.rawValue)=\(action)"
                let end = try await program.run("submit", "\(name).yaml")
                let dropped = try run.files("inbox").filter { $0.hasSuffix("\(name).yaml") }
                let isWhole = point == .fileRenamed || action.hasPrefix("delay")
                #expect(dropped.count == (isWhole ? 1 : 0), "\(name): \(end)")
                #expect((end.status == 0) == action.hasPrefix("delay"), "\(name): \(end)")
                if action == "enospc" { #expect(end.status == 73 && end.talk.contains("No space left"), "\(end)") }
                whole += dropped.count
            }
        }
        run.note(drops: whole)
        try await run.live()
        try run.expectSound()
    }

    @Test func anOrderThatCannotBeReadIsBadConfiguration() async throws {
        guard let run = try await Survival.make("orders") else { return }
        var program = run.shop.program
        program.environment["LORAJOBS_FAILPOINTS"] = "intake.clamied=kill"
        let end = try await program.run("status")
        #expect(end.status == 78 && end.talk.contains("intake.clamied"), "\(end)")
    }
}
