import Foundation
import Orchestration
import PipelineSpec

/// A file of `Jobs/schedules` as the verbs show it: what it says, and what came of it.
struct ScheduleReport: Sendable {
    enum State: String {
        case active, paused
        /// `enabled: false`.
        case off
        /// The file is wrong.
        case broken
    }

    let entry: ScheduleEntry
    /// `nil` when no daemon has seen it yet.
    let record: ScheduleRecord?

    /// Every schedule, by name.
    static func all(_ setup: WorkspaceSetup) throws -> [ScheduleReport] {
        let folder = ScheduleFolder(setup.workspace, maximumBytes: setup.settings.inbox.maxBytes)
        let entries = try folder.entries { setup.resolver.readSchedule($0) }
        let queue = try QueueAccess.reading(setup.workspace)
        let records = entries.isEmpty ? [:] : try queue?.schedules() ?? [:]
        try queue?.close()
        return entries.map { ScheduleReport(entry: $0, record: records[$0.id]) }
    }

    /// The schedule of a name, which may carry the file's ending.
    ///
    /// - Throws: ``CommandFailure`` when there is none, with the near ones.
    static func named(_ name: String, _ setup: WorkspaceSetup) throws -> ScheduleReport {
        let all = try all(setup)
        if let found = all.first(where: { $0.entry.url.lastPathComponent == name || $0.entry.id == name }) {
            return found
        }
        let names = all.map(\.entry.id).joined(separator: ", ")
        throw CommandFailure(
            .notFound,
            "there is no schedule \(PrintableText.quoted(name)) in Jobs/schedules"
                + (all.isEmpty ? "; put a manifest with a schedule: there" : "; there are \(names)"))
    }

    var state: State {
        guard let definition = entry.file.definition, entry.findings.isEmpty else { return .broken }
        return record?.isPaused == true ? .paused : definition.isEnabled ? .active : .off
    }

    /// The next times at which it makes a job, if nothing changes.
    ///
    /// A file that is wrong for the moment is tried again at its times.
    func next(_ count: Int, after now: Date) -> [Occurrence] {
        guard let definition = entry.file.definition, definition.isEnabled, record?.isPaused != true else { return [] }
        var found: [Occurrence] = []
        while found.count < count,
            let next = definition.cron.next(after: found.last?.date ?? now, in: definition.timeZone)
        {
            found.append(next)
        }
        return found
    }

    // MARK: For programs

    func json(_ workspace: Workspace, now: Date) -> JSON {
        let definition = entry.file.definition
        return .object([
            "name": .string(entry.id), "file": .string(workspace.relativePath(entry.url)),
            "state": .string(state.rawValue), "cron": .optional(definition?.cron.description),
            "time_zone": .optional(definition.map { Occurrence.name(of: $0.timeZone) }),
            "catch_up": .optional(definition?.catchUp.rawValue),
            "max_lateness_seconds": .optional(definition?.maxLatenessSeconds),
            "next": .array(next(3, after: now).map(Self.json)),
            "last": record?.last.map(Self.json) ?? .null,
            "findings": ValidationReport(entry.findings).json["findings"] ?? .array([]),
        ])
    }

    static func json(_ occurrence: Occurrence) -> JSON {
        .object(["occurrence": .string(occurrence.description), "at": .optional(occurrence.date)])
    }

    static func json(_ fire: ScheduleFire) -> JSON {
        .object([
            "occurrence": .string(fire.occurrence), "at": .optional(fire.firedAt),
            "outcome": .string(fire.outcome.rawValue), "job": .optional(fire.job),
        ])
    }

    // MARK: For people

    static func table(_ reports: [ScheduleReport], _ terminal: Terminal, now: Date) -> String {
        var table = Table("NAME CRON ZONE STATE ~NEXT ~LAST")
        for report in reports {
            let definition = report.entry.file.definition
            table.add([
                Table.Cell(report.entry.id), Table.Cell(definition?.cron.description ?? ""),
                Table.Cell(definition.map { Occurrence.name(of: $0.timeZone) } ?? ""),
                Table.Cell(report.state.rawValue, color(report.state)),
                Table.Cell(report.next(3, after: now).map(\.localTime).joined(separator: ", ")),
                Table.Cell(report.remark),
            ])
        }
        return table.text(terminal)
    }

    /// What came of it last, or what is wrong with the file.
    private var remark: String {
        if let finding = entry.findings.inLineOrder.first {
            let place = finding.line.map { "line \($0): " } ?? ""
            return place + finding.message + (finding.hint.map { "; \($0)" } ?? "")
        }
        guard let last = record?.last else { return "" }
        let isManual = last.occurrence.hasPrefix("manual-")
        let time = isManual ? "by hand" : String(last.occurrence.prefix(16).replacing("T", with: " "))
        return ([last.outcome.rawValue, time] + (last.job.map { [$0] } ?? [])).joined(separator: " ")
    }

    private static func color(_ state: State) -> Terminal.Color? {
        switch state {
        case .active: nil
        case .paused: .yellow
        case .off: .dim
        case .broken: .red
        }
    }
}
