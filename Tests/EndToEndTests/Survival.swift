import Artifacts
import Foundation
import GRDB
import PipelineSpec
import Synchronization
import Testing

@testable import Orchestration

/// Jobs that must get through whatever is armed against them, under a daemon that is started again whenever it ends,
/// as a service manager does; and what must be true at the end.
final class Survival: @unchecked Sendable {
    let shop: Workshop
    /// Named in every complaint.
    let label: String
    /// Files put into the inbox.
    var drops: Int { dropped.withLock { $0 } }
    private let dropped = Mutex(0)
    /// How often the daemon has ended by itself.
    private(set) var deaths: [Int32] = []
    private var log: URL { shop.outside.appending(path: "hits") }

    /// - Returns: `nil` after saying that the test is skipped.
    static func make(_ label: String, test: String = #function) async throws -> Survival? {
        guard let shop = try await Workshop.make(test: test) else { return nil }
        let text = try Data(contentsOf: shop.url("data/play.txt"))
        try shop.write(text.prefix(4000), to: "data/small.txt")
        let settings = try shop.text("lorajobs.yaml")
        try shop.write(settings + "inbox: {settle: 0.2s}\n", to: "lorajobs.yaml")
        return Survival(shop, label)
    }

    private init(_ shop: Workshop, _ label: String) {
        self.shop = shop
        self.label = label
    }

    /// The smallest job that goes through every stage and makes a version: some tenths of a second.
    func manifest(_ name: String, seed: Int = 1, steps: Int = 2, more: String = "") -> String {
        """
        name: \(name)
        base: \(shop.base.path)
        data: {train: data/small.txt, max_length: 32}
        adapter: {rank: 2}
        train: {steps: \(steps), batch_size: 1, seed: \(seed)}
        gate: {min_examples: 1, min_improvement: -1000%, max_regression: {}}
        run: {threads: 1, retries: 50\(more)}

        """
    }

    func drop(_ text: String, as name: String) throws {
        note(drops: 1)
        try shop.drop(text, as: name)
    }

    /// A file that is copied, not renamed: it is there before it is whole.
    func copy(_ text: String, as name: String, pause: Duration = .milliseconds(5)) async throws {
        note(drops: 1)
        let bytes = Data(text.utf8)
        let url = shop.url("Jobs/inbox/\(name)")
        try bytes.prefix(bytes.count / 2).write(to: url)
        let handle = try FileHandle(forWritingTo: url)
        defer { try? handle.close() }
        try await Task.sleep(for: pause)
        try handle.seekToEnd()
        try handle.write(contentsOf: bytes.dropFirst(bytes.count / 2))
    }

    /// Files that were put into the inbox by other means.
    func note(drops count: Int) { dropped.withLock { $0 += count } }

    // MARK: Running

    private func start(_ orders: String, _ environment: [String: String]) throws -> Running {
        let all = [
            "LORAJOBS_RETRY_SECONDS": "0.05", "LORAJOBS_CHECKPOINT_SECONDS": "0.001",
            "LORAJOBS_FAILPOINTS": orders, "LORAJOBS_FAILPOINT_LOG": log.path,
        ]
        return try Running(
            shop.program.executable, ["daemon"], in: shop.root, environment: all.merging(environment) { $1 }, input: "")
    }

    /// Keeps a daemon running until everything that was dropped has come to its end.
    ///
    /// - Parameters:
    ///   - deaths: So often the daemon may end; a failure comes before the time is over.
    ///   - disturb: Called all the time with the daemon's process id; false when it will disturb no more.
    func live(
        _ orders: String = "", environment: [String: String] = [:], within seconds: Double = 120,
        deaths limit: Int = 500,
        disturb: (Int32) throws -> Bool = { _ in false }
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        var daemon = try start(orders, environment)
        while true {
            if !daemon.isRunning {
                let end = try await daemon.outcome()
                deaths.append(end.status)
                guard deaths.count < limit else {
                    Issue.record("\(label): the daemon ends again and again: \(end.talk)")
                    throw Program.Unexpected(description: "\(label): the daemon ends again and again")
                }
                daemon = try start(orders, environment)
            }
            let isQuiet = try !disturb(daemon.pid)
            if isQuiet, try isDrained() { break }
            guard ContinuousClock.now < deadline else {
                daemon.signal(SIGTERM)
                let end = try await daemon.outcome()
                let status = try await shop.program.run("status", "--all").output
                Issue.record("\(label): not drained within \(seconds) s\n\(status)\n\(end.talk)")
                throw Program.Unexpected(description: "\(label): not drained")
            }
            try await Task.sleep(for: .milliseconds(isQuiet ? 20 : 5))
        }
        daemon.signal(SIGTERM)
        let end = try await daemon.outcome()
        // One that was killed, or asked to stop, in its first moment has nothing left to do either.
        #expect([0, 128 + SIGKILL, 128 + SIGTERM].contains(end.status), "\(label): \(end)")
    }

    /// Whether every drop has its verdict and lies where it belongs, and every job has ended.
    func isDrained() throws -> Bool {
        guard hasDatabase else { return false }
        guard let queue = try? JobQueue.openReadOnly(shop.url("Jobs/lorajobs.sqlite")) else { return false }
        defer { try? queue.close() }
        return try queue.read { db in
            let taken = try Int.fetchOne(db, sql: "SELECT count(*) FROM intake WHERE filed_ms IS NOT NULL")
            let open = try Int.fetchOne(db, sql: "SELECT count(*) FROM job WHERE finished_ms IS NULL")
            let undone = try Int.fetchOne(db, sql: "SELECT count(*) FROM gate_decision WHERE settled_ms IS NULL")
            return taken == drops && open == 0 && undone == 0
        }
    }

    /// Whether the queue has its tables.
    var hasDatabase: Bool {
        guard FileManager.default.fileExists(atPath: shop.url("Jobs/lorajobs.sqlite").path) else { return false }
        return (try? query { try $0.tableExists("gate_decision") }) ?? false
    }

    /// Changes rows while no daemon runs.
    func update(_ statement: String) throws {
        let queue = try DatabaseQueue(path: shop.url("Jobs/lorajobs.sqlite").path)
        try queue.write { try $0.execute(sql: statement) }
        try queue.close()
    }

    func query<T>(_ body: (Database) throws -> T) throws -> T {
        let queue = try JobQueue.openReadOnly(shop.url("Jobs/lorajobs.sqlite"))
        defer { try? queue.close() }
        return try queue.read(body)
    }

    /// How often each point was reached, by any process.
    func hits() -> [Failpoint: Int] {
        guard let text = try? String(contentsOf: log, encoding: .utf8) else { return [:] }
        let names = text.split(separator: "\n").compactMap { Failpoint(rawValue: String($0.prefix { $0 != " " })) }
        return Dictionary(names.map { ($0, 1) }, uniquingKeysWith: +)
    }

    // MARK: Judging

    /// Expects a sound workspace in which every accepted job has come to its one effect.
    func expectSound(failed: Int = 0, at location: SourceLocation = #_sourceLocation) throws {
        let workspace = Workspace(root: shop.root)
        let found = try Invariants(workspace).violations()
        #expect(found == [], "\(label)", sourceLocation: location)

        let count = { (folder: String) in
            try self.files(folder).count { !$0.contains(".receipt.") && !$0.contains(".error.") }
        }
        let places = try ["inbox", "claimed", "accepted", "rejected"].map(count)
        #expect(places.reduce(0, +) == drops, "\(label): files in \(places)", sourceLocation: location)
        #expect(places[0] == 0 && places[1] == 0, "\(label): files in \(places)", sourceLocation: location)

        let rows = try query { db in
            (
                jobs: try Row.fetchAll(db, sql: "SELECT id, name, state, reason, adapter, gate FROM job"),
                owners: try Row.fetchAll(
                    db, sql: "SELECT a.id, s.job_id FROM attempt AS a JOIN stage_run AS s ON s.id = a.stage_id")
            )
        }
        let jobOf = Dictionary(uniqueKeysWithValues: rows.owners.map { ($0["id"] as String, $0["job_id"] as String) })
        var effects: [String: [String]] = [:]
        for version in try ArtifactStore(workspace.artifacts).list(.adapters, all: true) {
            effects[jobOf[version.attemptID] ?? "nobody", default: []].append(version.reference)
        }
        var failures = 0
        var late: Set<String> = []
        for job in rows.jobs {
            let (id, state): (String, String) = (job["id"], job["state"])
            let made = effects.removeValue(forKey: id) ?? []
            let reason: String? = job["reason"]
            let words = "\(label): \(job["name"] as String) \(id) \(state) \(reason ?? "") made \(made)"
            if state == "succeeded", reason != "unchanged" {
                let gate: String? = job["gate"]
                let isPromoted = gate == "passed" && reason?.hasPrefix("promoted") == true
                // Two tenants may make one adapter at once, and one of them be promoted while the other is compared.
                let isLate = gate == "held" && reason?.contains("when the two were compared") == true
                #expect(isPromoted || isLate, "\(words)", sourceLocation: location)
                if isLate { late.formUnion(made) }
            }
            if state == "succeeded" {
                #expect(made.count == (reason == "unchanged" ? 0 : 1), "\(words)", sourceLocation: location)
            } else {
                failures += 1
                #expect(state == "failed" && failed > 0 && made.isEmpty, "\(words)", sourceLocation: location)
            }
        }
        #expect(failures == failed, "\(label)", sourceLocation: location)
        // Every other gate let pass, so production is what was made last, and each move is in the log once.
        let store = ArtifactStore(workspace.artifacts)
        for name in try store.names(in: .adapters) {
            let log = try store.log(of: name)
            let moves = log.filter { $0.event == .aliasMoved }
            let published = log.filter { $0.event == .published }.compactMap(\.version)
                .filter { !late.contains("\(name):\($0)") }
            #expect(moves.compactMap(\.version) == published, "\(label): \(name) \(moves)", sourceLocation: location)
            #expect(Set(moves.compactMap(\.decision)).count == moves.count, "\(label)", sourceLocation: location)
            let production = try store.aliases(of: name)["production"]
            #expect(production == published.last, "\(label): \(name)", sourceLocation: location)
        }
        #expect(effects.isEmpty, "\(label): versions of no job: \(effects)", sourceLocation: location)
        #expect(Processes.working(in: shop.url("Jobs/runs")).isEmpty, "\(label)", sourceLocation: location)
    }

    /// Files that are not hidden, anywhere below a folder of `Jobs`.
    func files(_ folder: String) throws -> [String] {
        let found = FileManager.default.enumerator(atPath: shop.url("Jobs/\(folder)").path)
        return (found?.compactMap { $0 as? String } ?? []).filter { path in
            var isFolder: ObjCBool = false
            let url = shop.url("Jobs/\(folder)/\(path)")
            return FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) && !isFolder.boolValue
                && !url.lastPathComponent.hasPrefix(".")
        }
    }
}

/// Runs cases at most so many at a time, each with its own workspace.
func inTurns<Case: Sendable>(
    _ cases: [Case], atOnce width: Int = 4, _ body: @escaping @Sendable (Case) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, one) in cases.enumerated() {
            if index >= width { try await group.next() }
            group.addTask {
                do {
                    try await body(one)
                } catch {
                    // The other cases are still worth knowing.
                    Issue.record("\(one): \(error)")
                }
            }
        }
        try await group.waitForAll()
    }
}

/// Random numbers that a seed repeats.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    /// SplitMix64, after Steele, Lea and Flood (2014).
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// The long forms run with `LORAJOBS_SOAK=1`, which is `make soak`.
enum Soak {
    static let isOn = ProcessInfo.processInfo.environment["LORAJOBS_SOAK"] == "1"

    /// `LORAJOBS_SEED`, else another one each time; printed, so that a failure can be replayed.
    static func seed(_ test: String = #function) -> UInt64 {
        let given = ProcessInfo.processInfo.environment["LORAJOBS_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 1...999_999_999)
        FileHandle.standardError.write(Data("\(test): LORAJOBS_SEED=\(seed)\n".utf8))
        return seed
    }
}
