import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec
import Stages

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Look a workspace over, and repair it or rebuild its queue when asked to.",
        discussion: """
            One line a check: ok, warning, or problem with what to do. The exit code is 0 when there is no problem, 74 \
            when the queue, the store or files of jobs are damaged, 78 when settings, files that people write or the \
            machine are not as they should be, and 75 when --repair or --rebuild must wait for a daemon to end.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Flag(name: .long, help: "Do not read the contents of versions and cached outputs.") var quick = false
    @Flag(name: .long, help: "Put right what can be put right without losing anything, then look again.")
    var repair = false
    @Flag(name: .long, help: "Make a queue that is lost or damaged anew from the files; the damaged one is kept.")
    var rebuild = false
    @Flag(name: .long, help: "With --rebuild: begin with the newest backup beside the queue.") var fromBackup = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if fromBackup && !rebuild { throw ValidationError("--from-backup goes with --rebuild") }
        if rebuild && repair { throw ValidationError("--rebuild and --repair are two things; rebuild first") }
    }

    mutating func run() throws {
        let workspace = try options.locate()
        // What is wrong with the settings is one of the checks, and hides none of the others.
        let setup = (try? WorkspaceSetup(workspace)) ?? WorkspaceSetup(workspace, settings: WorkspaceSettings())
        let configuration = try setup.orchestration(logger: DaemonLog.quiet)
        let doctor = Doctor(configuration, readsContent: !quick)
        var members: [String: JSON] = [:]
        if rebuild {
            let report = try QueueRebuild(configuration).run(fromBackup: fromBackup)
            members["rebuilt"] = .object(Self.json(report))
            for line in Self.lines(report) { Talk.say(line) }
        }
        if repair {
            var repairs: [JSON] = []
            let count = try doctor.repair {
                Talk.say("repair: \($0)")
                repairs.append(.string($0))
            }
            if count == 0 { Talk.say("there is nothing to repair") }
            members["repairs"] = .array(repairs)
        }
        var diagnoses = doctor.examine()
        diagnoses.append(
            .ok("cpu", "\(Engine.description), \(ProcessInfo.processInfo.activeProcessorCount) threads at once"))
        let problems = diagnoses.filter { $0.verdict == .problem }
        if json {
            members["sound"] = .bool(problems.isEmpty)
            members["checks"] = .array(diagnoses.map { .object(Self.json($0)) })
            try StandardOutput.json(members)
        } else {
            for diagnosis in diagnoses { try StandardOutput.write(Self.text(diagnosis, .output)) }
        }
        if problems.contains(where: { $0.kind == .data }) { try ExitStatus.ioError.end() }
        if !problems.isEmpty { try ExitStatus.badConfiguration.end() }
    }

    private static func text(_ diagnosis: Diagnosis, _ terminal: Terminal) -> String {
        let color: Terminal.Color =
            switch diagnosis.verdict {
            case .ok: .green
            case .warning: .yellow
            case .problem: .red
            }
        let verdict =
            terminal.paint(diagnosis.verdict.rawValue, color)
            + String(repeating: " ", count: 9 - diagnosis.verdict.rawValue.count)
        let advice = diagnosis.advice.map { "; \($0)" } ?? ""
        let message = PrintableText.line(diagnosis.message + advice, limit: 1000)
        return verdict + DisplayWidth.pad(diagnosis.code, to: 20) + "  " + message + "\n"
    }

    private static func json(_ diagnosis: Diagnosis) -> [String: JSON] {
        [
            "code": .string(diagnosis.code), "verdict": .string(diagnosis.verdict.rawValue),
            "message": .string(diagnosis.message), "advice": .optional(diagnosis.advice),
        ]
    }

    private static func json(_ report: QueueRebuild.Report) -> [String: JSON] {
        [
            "moved_away": .array(report.movedAway.map { .string($0) }), "backup": .optional(report.backup),
            "manifests": .object(report.manifests.mapValues { .integer($0) }),
            "jobs": .object(
                Dictionary(uniqueKeysWithValues: report.jobs.map { ($0.rawValue, .integer($1)) })),
            "notes": .array(report.notes.map { .string($0) }),
        ]
    }

    private static func lines(_ report: QueueRebuild.Report) -> [String] {
        func counts(_ numbers: [(String, Int)]) -> String {
            numbers.isEmpty ? "none" : numbers.sorted { $0.0 < $1.0 }.map { "\($1) \($0)" }.joined(separator: ", ")
        }
        var lines =
            report.movedAway.isEmpty ? [] : ["kept the old queue as \(report.movedAway.joined(separator: ", "))"]
        if let backup = report.backup { lines.append("began with \(backup)") }
        lines.append("manifests found again: \(counts(report.manifests.map { ($0, $1) }))")
        lines.append("jobs found again: \(counts(report.jobs.map { ($0.rawValue, $1) }))")
        if report.jobs[.held] != nil {
            lines.append("held jobs run when they are let go: lorajobs status --all, lorajobs release JOB")
        }
        return lines + report.notes.map { PrintableText.line($0, limit: 400) }
    }
}
