import Artifacts
import Foundation
import Orchestration
import PipelineSpec

/// What has happened in a workspace since a moment, for a person with a cup of coffee.
struct NightDigest: Sendable {
    /// A job that has ended, and the version it made beside what it was measured against.
    struct Ended: Sendable {
        var job: JobStatus
        var loss: Double?
        /// On the same examples, of the version that was in production then; of the base, where none was.
        var lossBefore: Double?
        /// Why the job failed is in its reason; of one that did nothing, this is set.
        var isUnchanged: Bool { job.state == .succeeded && job.reason == "unchanged" }
    }

    /// A line of an adapter's log that is not a publication.
    struct Move: Sendable {
        var name: String
        var entry: LogEntry
    }

    let since: Date
    private let isDaemonRunning: Bool
    private var ended: [Ended] = []
    private var waiting: [JobStatus] = []
    private var moves: [Move] = []
    private var rejections: [Rejection] = []
    /// Versions that gates have held, whenever that was.
    private var held: [GateDecision] = []

    init(_ workspace: Workspace, since: Date, now: Date) throws {
        self.since = since
        isDaemonRunning = try DaemonLock.holder(of: workspace) != nil
        let store = ArtifactStore(workspace.artifacts)
        for name in try store.names(in: .adapters) {
            moves += try store.history(of: name).compactMap { entry in
                guard entry.event != .published, let time = Moments.since(entry.time, now: now), time >= since else {
                    return nil
                }
                return Move(name: name, entry: entry)
            }
        }
        moves.sort { $0.entry.time < $1.entry.time }
        guard let queue = try QueueAccess.reading(workspace) else { return }
        var filter = JobFilter()
        filter.endedSince = since
        ended = try queue.list(filter).sorted { ($0.finishedAt ?? since) < ($1.finishedAt ?? since) }
            .map { try Self.ended($0, store) }
        filter.endedSince = nil
        filter.states = [.held, .waiting, .queued, .running, .retryWait]
        waiting = try queue.list(filter, isDaemonDown: !isDaemonRunning)
        rejections = try queue.rejections(since: since)
        held = try queue.versionsAwaitingApproval(in: store)
        try queue.close()
    }

    private static func ended(_ job: JobStatus, _ store: ArtifactStore) throws -> Ended {
        guard let reference = job.adapter.flatMap({ try? ArtifactReference($0) }),
            case .version(let number) = reference.selector
        else { return Ended(job: job) }
        // One that is gone or damaged has no number to show.
        let version = try? store.resolve(ArtifactReference(name: reference.name, selector: .version(number)))
        func figure(_ value: JSON?) -> Double? { value.flatMap { Double($0.plainText) } }
        var before = figure(version?.record["metrics"]?["base_loss"])
        if case .array(let sets)? = version?.record["evaluation"]?["sets"],
            let champion = figure(sets.first?["values"]?["champion"]?["loss"])
        {
            before = champion
        }
        return Ended(job: job, loss: figure(version?.record["metrics"]?["loss"]), lossBefore: before)
    }

    // MARK: For programs

    var json: [String: JSON] {
        [
            "since": .string(Moments.json(since)), "daemon_running": .bool(isDaemonRunning),
            "ended": .array(
                ended.map {
                    var members = StatusReport.json($0.job)
                    members["loss"] = .optional($0.loss)
                    members["loss_before"] = .optional($0.lossBefore)
                    members["unchanged"] = .bool($0.isUnchanged)
                    return .object(members)
                }),
            "moves": .array(
                moves.map {
                    .object([
                        "name": .string($0.name), "event": .string($0.entry.event.rawValue),
                        "time": .string($0.entry.time), "alias": .optional($0.entry.alias),
                        "version": .optional($0.entry.version), "previous": .optional($0.entry.previous),
                        "reason": .optional($0.entry.reason), "gate": .optional($0.entry.gate),
                    ])
                }),
            "rejected": .array(
                rejections.map {
                    .object([
                        "name": .string($0.name), "tenant": .string($0.tenant), "at": .optional($0.receivedAt),
                        "finding": .optional($0.report.findings.first?.message),
                    ])
                }),
            "awaiting_approval": .array(held.map { .object(StatusReport.json($0)) }),
            "waiting": .array(waiting.map { .object(StatusReport.json($0)) }),
        ]
    }

    // MARK: For people

    func text(_ terminal: Terminal) -> String {
        var parts = ["Since \(Moments.local(since))" + (isDaemonRunning ? "" : "; no daemon runs now") + "\n"]
        let unchanged = ended.filter(\.isUnchanged)
        let rest = ended.filter { !$0.isUnchanged }
        let made = rest.filter { $0.job.state == .succeeded }
        let lost = rest.filter { $0.job.state != .succeeded }
        if !made.isEmpty {
            var table = Table("NAME MADE >LOSS >BEFORE TOOK GATE")
            for one in made {
                table.add([
                    Table.Cell(one.job.name), Table.Cell(one.job.adapter ?? (one.job.sweep == nil ? "" : "a trial")),
                    Table.Cell(
                        one.loss.map(Amounts.number) ?? "", one.isWorse ? .yellow : one.isBetter ? .green : nil),
                    Table.Cell(one.lossBefore.map(Amounts.number) ?? ""),
                    Table.Cell(one.job.elapsed.map(Durations.text) ?? ""),
                    Table.Cell(one.job.gate ?? "", one.job.gate == "passed" ? .green : .yellow),
                ])
            }
            parts.append(section("\(count(made, "job")) succeeded", table, terminal))
        }
        if !unchanged.isEmpty {
            let names = Set(unchanged.map(\.job.name)).sorted().joined(separator: ", ")
            parts.append("\(count(unchanged, "job")) had nothing to do: \(PrintableText.line(names, limit: 300))\n")
        }
        if !lost.isEmpty {
            var table = Table("NAME STATE ID ~WHY")
            for one in lost {
                let color: Terminal.Color? = one.job.state == .failed ? .red : nil
                table.add([
                    Table.Cell(one.job.name), Table.Cell(one.job.state.rawValue, color), Table.Cell(one.job.id),
                    Table.Cell(one.job.reason ?? ""),
                ])
            }
            parts.append(section("\(count(lost, "job")) did not succeed", table, terminal))
        }
        if !rejections.isEmpty {
            var table = Table("FILE TENANT ~WHY")
            for rejection in rejections {
                table.add([
                    Table.Cell(rejection.name), Table.Cell(rejection.tenant),
                    Table.Cell(rejection.report.findings.first?.message ?? ""),
                ])
            }
            parts.append(section("\(count(rejections, "manifest")) rejected", table, terminal))
        }
        if !moves.isEmpty {
            var table = Table("ADAPTER EVENT VERSION ~WHY")
            for move in moves {
                let previous = move.entry.previous.map { " from \($0)" } ?? ""
                table.add([
                    Table.Cell(move.name), Table.Cell(NightDigest.event(move.entry) + previous),
                    Table.Cell(move.entry.version.map(String.init) ?? ""), Table.Cell(move.entry.reason ?? ""),
                ])
            }
            parts.append(section("In the store", table, terminal))
        }
        if !held.isEmpty {
            var table = Table("VERSION ALIAS ~WHY")
            for decision in held {
                table.add([
                    Table.Cell("\(decision.name):\(decision.version)", .yellow), Table.Cell(decision.alias),
                    Table.Cell(decision.reason),
                ])
            }
            parts.append(
                section("\(count(held, "version")) for you to judge", table, terminal)
                    + "lorajobs adapters promote NAME:N, or lorajobs adapters reject NAME:N --reason TEXT\n")
        }
        if !waiting.isEmpty {
            var table = Table("NAME STATE ID ~WHY")
            for job in waiting.prefix(20) {
                table.add([
                    Table.Cell(job.name), Table.Cell(job.state.rawValue), Table.Cell(job.id),
                    Table.Cell(job.reason ?? ""),
                ])
            }
            let more = waiting.count > 20 ? "and \(waiting.count - 20) more: lorajobs status\n" : ""
            parts.append(section("\(count(waiting, "job")) not done", table, terminal) + more)
        }
        if parts.count == 1 { parts.append("Nothing has happened.\n") }
        return parts.joined(separator: "\n")
    }

    private func section(_ title: String, _ table: Table, _ terminal: Terminal) -> String {
        title + "\n" + table.text(terminal)
    }

    private func count(_ things: [some Any], _ noun: String) -> String {
        "\(things.count) \(noun)\(things.count == 1 ? "" : "s")"
    }
}

extension NightDigest {
    /// What a line of a log is about, in a word or two.
    fileprivate static func event(_ entry: LogEntry) -> String {
        if entry.event == .gated { return "gate \(entry.gate ?? "")" }
        return entry.alias ?? entry.event.rawValue
    }
}

extension NightDigest.Ended {
    var isBetter: Bool { (loss ?? .infinity) < (lossBefore ?? -.infinity) }
    var isWorse: Bool { (loss ?? -.infinity) > (lossBefore ?? .infinity) }
}
