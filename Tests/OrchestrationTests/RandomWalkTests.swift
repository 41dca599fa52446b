import Foundation
import GRDB
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The queue's verbs in random order against a model that knows nothing of SQL.
///
/// A failure names its seed and step; `LORAJOBS_WALK_SEED` walks the same way again.
@Suite struct RandomWalkTests {
    @Test(arguments: seeds) func verbsDoWhatTheModelSays(seed: UInt64) throws {
        var walk = try RandomWalk(seed: seed)
        for step in 0..<1200 {
            let verb = try walk.step()
            let differences = try walk.differences()
            try #require(differences == [], "seed \(seed), step \(step): \(verb)")
        }
        #expect(try walk.test.queue.integrityProblems() == [])
        // A walk that never ends, retries or refuses anything has shown nothing.
        #expect(walk.seen.isSuperset(of: RandomWalk.mustSee), "\(RandomWalk.mustSee.subtracting(walk.seen))")
    }

    static var seeds: [UInt64] {
        let chosen = ProcessInfo.processInfo.environment["LORAJOBS_WALK_SEED"].flatMap(UInt64.init)
        return chosen.map { [$0] } ?? [1, 2, 3]
    }
}

/// A generator that gives the same numbers for the same seed on every machine (SplitMix64).
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

private struct RandomWalk {
    static let mustSee: Set<String> = [
        "accepted", "coalesced", "duplicate", "reject refused", "replaced", "skipped", "started", "retried", "put back",
        "retry_wait", "held", "released", "cancelled", "stranger refused", "verb refused", "queue full",
    ]

    struct Job {
        var id: String
        var tenant: String
        var owner: UInt32
        var key: String
        var content: String
        var conflict: JobManifest.OnConflict
        var idempotency: String?
        var state: JobState
        var hasStarted = false
        var isCancelRequested = false
        var due: Int64
        var needs: [(id: String, condition: String)]
        var queue: String

        var isPending: Bool { !state.isFinal && !hasStarted }
    }

    /// A manifest as it is dropped.
    private struct Drop {
        var tenant: String
        var owner: UInt32
        var name: String
        var content: UInt64
        var conflict: JobManifest.OnConflict
        var once: String?
        var isHeld: Bool
        var due: Int64
        var queue: String
        var needs: [(id: String, condition: String)]
        var priority: Int
    }

    let test: TestQueue
    private var last: Drop?
    private var random: SplitMix
    private var jobs: [Job] = []
    private var isPaused = false
    private var limit: Int?
    private var time: Int64 = 1_000_000_000_000
    private(set) var seen: Set<String> = []
    private let cores = 3

    init(seed: UInt64) throws {
        test = try TestQueue()
        try test.forgetDurability()
        random = SplitMix(state: seed)
    }

    /// Takes a step, in the queue and in the model; what it was.
    mutating func step() throws -> String {
        switch Int.random(in: 0..<100, using: &random) {
        case ..<30: return try accept()
        case ..<50: return try start()
        case ..<62: return try end()
        case ..<68: return try putBack()
        case ..<73: return try change("cancel", { try $0.cancel($1, as: $2) }, Self.cancel)
        case ..<78: return try change("hold", { try $0.hold($1, as: $2) }, Self.hold)
        case ..<84: return try change("release", { try $0.release($1, as: $2) }, Self.release)
        case ..<87:
            let priority = Int.random(in: -3...3, using: &random)
            return try change("prioritize", { try $0.prioritize($1, to: priority, as: $2) }) { !$0.state.isFinal }
        case ..<91: return try retry()
        case ..<93:
            isPaused.toggle()
            try test.queue.setPaused(isPaused, queue: "default", as: 0)
            return "pause \(isPaused)"
        case ..<95:
            limit = [nil, 1, 2].randomElement(using: &random) ?? nil
            try test.queue.setMaximumJobs(limit, queue: "night", as: 0)
            return "limit \(limit ?? 0)"
        default:
            let seconds = Int64.random(in: 1...7200, using: &random)
            test.advance(seconds: Double(seconds))
            time += seconds * 1000
            try test.queue.promote()
            settle()
            return "advance \(seconds)"
        }
    }

    /// Where the queue is not as the model says, and what it must never be.
    func differences() throws -> [String] {
        let states = try test.queue.read { db in
            try Row.fetchAll(db, sql: "SELECT id, state, started_ms IS NOT NULL AS started FROM job")
        }
        var problems = try QueueInvariants.violations(test.queue)
        if states.count != jobs.count { problems.append("\(states.count) jobs, not \(jobs.count)") }
        let known = Dictionary(uniqueKeysWithValues: jobs.map { ($0.id, $0) })
        for row in states {
            let id: String = row["id"]
            let state: String = row["state"]
            if known[id]?.state.rawValue != state || known[id]?.hasStarted != row["started"] {
                problems.append("\(id) is \(state), the model says \(known[id]?.state.rawValue ?? "nothing")")
            }
        }
        return problems
    }

    // MARK: Verbs

    private mutating func accept() throws -> String {
        // Now and then just what came before.
        if let last, Int.random(in: 0..<5, using: &random) == 0 { return try accept(last) }
        let tenant = ["a", "b"].randomElement(using: &random) ?? "a"
        let owner = UInt32.random(in: 4001...4002, using: &random)
        let name = "n\(Int.random(in: 0..<5, using: &random))"
        let content = UInt64.random(in: 0..<2, using: &random)
        let conflict = JobManifest.OnConflict.allCases.randomElement(using: &random) ?? .queue
        let once = Int.random(in: 0..<8, using: &random) == 0 ? "k\(Int.random(in: 0..<3, using: &random))" : nil
        let isHeld = Int.random(in: 0..<8, using: &random) == 0
        let due =
            Int.random(in: 0..<6, using: &random) == 0 ? time + Int64.random(in: 1...9, using: &random) * 600_000 : 0
        let queue = Bool.random(using: &random) ? "default" : "night"
        var needs: [(id: String, condition: String)] = []
        for _ in 0..<(Int.random(in: 0..<4, using: &random) == 0 ? 2 : 0) {
            guard let other = jobs.filter({ $0.tenant == tenant }).suffix(12).randomElement(using: &random),
                !needs.contains(where: { $0.id == other.id })
            else { continue }
            needs.append((other.id, ["ok", "any", "notok"].randomElement(using: &random) ?? "ok"))
        }
        let priority = Int.random(in: 0..<3, using: &random) == 0 ? Int.random(in: -2...2, using: &random) : 0
        return try accept(
            Drop(
                tenant: tenant, owner: owner, name: name, content: content, conflict: conflict, once: once,
                isHeld: isHeld, due: due, queue: queue, needs: needs, priority: priority))
    }

    private mutating func accept(_ drop: Drop) throws -> String {
        last = drop
        let (tenant, owner, conflict, due, needs) = (drop.tenant, drop.owner, drop.conflict, drop.due, drop.needs)
        let once = drop.once
        let key = "\(tenant)/\(drop.name)"
        let text = "\(drop)"
        var refused = false
        var verdict: IntakeVerdict?
        do {
            verdict = try test.add(drop.name, tenant: tenant, owner: owner, seed: drop.content) { run in
                run.onConflict = conflict
                run.idempotencyKey = once
                run.hold = drop.isHeld
                run.notBefore = due == 0 ? nil : Double(due) / 1000
                run.after = needs.map { "\($0.id):\($0.condition)" }
                run.queue = drop.queue
                run.priority = drop.priority
            }
        } catch is RefusedSubmission { refused = true }

        // What the model says.
        if let once, let first = jobs.first(where: { $0.tenant == tenant && $0.idempotency == once }) {
            #expect(verdict == .duplicate(job: first.id), "\(text)")
            return note("duplicate", text)
        }
        let unfinished = jobs.filter { $0.tenant == tenant && $0.key == key && !$0.state.isFinal }
        if conflict == .coalesce {
            let equal = unfinished.first {
                $0.isPending && $0.conflict == .coalesce && $0.content == text && $0.owner == owner
            }
            if let equal {
                #expect(verdict == .coalesced(job: equal.id), "\(text)")
                return note("coalesced", text)
            }
        }
        if conflict == .reject, !unfinished.isEmpty {
            #expect(refused, "\(text)")
            return note("reject refused", text)
        }
        if conflict == .replace {
            for other in unfinished where other.isPending && other.owner == owner {
                set(other.id, .cancelled)
                seen.insert("replaced")
            }
        }
        let isLate = due > time || !needs.isEmpty
        guard case .accepted(let id)? = verdict else {
            Issue.record("not accepted: \(text)")
            return text
        }
        jobs.append(
            Job(
                id: id, tenant: tenant, owner: owner, key: key, content: text, conflict: conflict, idempotency: once,
                state: drop.isHeld ? .held : isLate ? .waiting : .queued, due: due, needs: needs, queue: drop.queue))
        settle()
        return note("accepted", text)
    }

    private mutating func start() throws -> String {
        let running = jobs.filter { $0.state == .running }
        let ready = jobs.filter { job in
            guard job.state == .queued, job.queue == "night" || !isPaused else { return false }
            if job.queue == "night", let limit, running.count(where: { $0.queue == "night" }) >= limit {
                seen.insert("queue full")
                return false
            }
            let rivals = jobs.filter { $0.tenant == job.tenant && $0.key == job.key && !$0.state.isFinal }
            return !rivals.contains { $0.hasStarted && $0.id != job.id }
        }
        let started = try test.queue.startNext(cores: cores, isDiskLow: false)
        guard let started else {
            #expect(ready.isEmpty || running.count >= cores, "\(ready.map(\.id)) could start")
            return note("nothing started", "")
        }
        #expect(running.count < cores && ready.contains { $0.id == started }, "\(started) may not start")
        set(started, .running)
        return note("started", started)
    }

    private mutating func end() throws -> String {
        guard let job = jobs.filter({ $0.state == .running }).randomElement(using: &random) else {
            return "nothing runs"
        }
        let end = [JobState.succeeded, .succeeded, .failed, .cancelled].randomElement(using: &random) ?? .failed
        try test.queue.finishJob(job.id, end, reason: "because")
        set(job.id, end)
        settle()
        return note(end.rawValue, job.id)
    }

    private mutating func putBack() throws -> String {
        guard let job = jobs.filter({ $0.state == .running }).randomElement(using: &random) else {
            return "nothing runs"
        }
        let seconds: Double? = Bool.random(using: &random) ? nil : 900
        try test.queue.putBack(job.id, why: "test", seconds: seconds)
        if job.isCancelRequested {
            // Nothing runs any more: what was asked for can be done.
            set(job.id, .cancelled)
            settle()
            return note("cancelled", job.id)
        }
        guard seconds != nil else {
            set(job.id, .queued)
            return note("put back", job.id)
        }
        set(job.id, .retryWait)
        let due = time + 900_000
        update(job.id) { $0.due = due }
        return note("retry_wait", job.id)
    }

    /// A verb on any job by any user: it changes what the model says, or is refused and changes nothing.
    private mutating func change(
        _ name: String, _ verb: (JobQueue, String, UInt32) throws -> Void, _ model: (inout Job) -> Bool
    ) throws -> String {
        guard var job = jobs.suffix(30).randomElement(using: &random) else { return "no jobs" }
        let keeper = try test.queue.daemonUser()
        let users: [UInt32] = [job.owner, keeper, 4999]
        let user = users.randomElement(using: &random) ?? 0
        var failure: OrchestrationError?
        do { try verb(test.queue, job.id, user) } catch let error as OrchestrationError { failure = error }
        if user == 4999, keeper != 4999 {
            #expect(failure?.code == .permission, "\(name) \(job.id)")
            return note("stranger refused", name)
        }
        guard model(&job) else {
            #expect(failure?.code == .wrongState, "\(name) \(job.id), which is \(job.state)")
            return note("verb refused", name)
        }
        #expect(failure == nil, "\(name) \(job.id): \(failure?.description ?? "")")
        let new = job
        update(job.id) { $0 = new }
        settle()
        return note(["hold": "held", "release": "released"][name] ?? name, job.id)
    }

    private static func cancel(_ job: inout Job) -> Bool {
        if job.state == .running { job.isCancelRequested = true }
        if job.state == .running || job.state == .cancelled { return true }
        if job.state.isFinal { return false }
        job.state = .cancelled
        return true
    }

    private static func hold(_ job: inout Job) -> Bool {
        if job.state == .running || job.state.isFinal { return false }
        job.state = .held
        return true
    }

    private static func release(_ job: inout Job) -> Bool {
        guard job.state == .held else { return false }
        job.state = .waiting
        return true
    }

    private mutating func retry() throws -> String {
        guard let job = jobs.filter(\.state.isFinal).suffix(10).randomElement(using: &random) else {
            return "none ended"
        }
        var again = job
        again.id = try test.queue.retry(job.id, as: job.owner)
        again.conflict = .queue
        again.idempotency = nil
        again.needs = []
        again.hasStarted = false
        again.isCancelRequested = false
        again.state = again.due > time ? .waiting : .queued
        jobs.append(again)
        return note("retried", job.id)
    }

    // MARK: The model's own rules

    /// Times and dependencies, until nothing changes.
    private mutating func settle() {
        for job in jobs where job.state == .retryWait && job.due <= time { set(job.id, .queued) }
        var hasChanged = true
        while hasChanged {
            hasChanged = false
            for job in jobs where job.state == .waiting {
                let ends = job.needs.map { need in
                    (need.condition, jobs.first { $0.id == need.id }?.state ?? .failed)
                }
                if ends.contains(where: { condition, state in
                    state.isFinal
                        && (condition == "ok" && state != .succeeded || condition == "notok" && state == .succeeded)
                }) {
                    set(job.id, .skipped)
                    seen.insert("skipped")
                    hasChanged = true
                } else if ends.allSatisfy(\.1.isFinal), job.due <= time {
                    set(job.id, .queued)
                    hasChanged = true
                }
            }
        }
    }

    private mutating func set(_ id: String, _ state: JobState) {
        update(id) { job in
            job.state = state
            if state == .running { job.hasStarted = true }
        }
    }

    private mutating func update(_ id: String, _ body: (inout Job) -> Void) {
        guard let index = jobs.firstIndex(where: { $0.id == id }) else { return }
        body(&jobs[index])
    }

    private mutating func note(_ kind: String, _ text: String) -> String {
        seen.insert(kind == "cancel" ? "cancelled" : kind)
        return "\(kind) \(text)"
    }
}
