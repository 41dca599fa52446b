import Artifacts
import CLinux
import Foundation
import Glibc
import PipelineSpec

/// Looks a workspace over, whether a daemon runs or not, and repairs what can be repaired without losing anything.
package struct Doctor: Sendable {
    /// What the machine says; tests let it say something else.
    struct Machine: Sendable {
        /// `f_type` of statfs(2) for the file system of a path.
        var fileSystem: @Sendable (String) -> Int = { Int(clinux_filesystem_type($0)) }
        /// `st_dev` of a path; `nil` when it is not there.
        var device: @Sendable (String) -> UInt64? = { path in
            var status = stat()
            return stat(path, &status) == 0 ? UInt64(status.st_dev) : nil
        }
        /// A value of `/proc/sys/fs/inotify`.
        var inotifyLimit: @Sendable (String) -> Int? = { name in
            (try? String(contentsOfFile: "/proc/sys/fs/inotify/\(name)", encoding: .utf8))
                .flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        }
    }

    let configuration: OrchestrationConfiguration
    let readsContent: Bool
    var machine = Machine()
    /// The present; a test looks from another time.
    var now = Date()

    var workspace: Workspace { configuration.workspace }

    /// - Parameter readsContent: Also reads every version and every cached output, which takes as long as the disk does.
    package init(_ configuration: OrchestrationConfiguration, readsContent: Bool = true) {
        self.configuration = configuration
        self.readsContent = readsContent
    }

    /// Makes every check, and says at least one thing about each.
    ///
    /// A check that cannot be made is a problem, and does not keep the others from being made.
    package func examine() -> [Diagnosis] {
        var found: [Diagnosis] = []
        for (code, kind, check) in checks {
            let report = Report(code, kind)
            do {
                try check(report)
            } catch {
                report.problem("the check could not be made: \(error)")
            }
            found += report.diagnoses
        }
        return found
    }

    private var checks: [(String, Diagnosis.Kind, (Report) throws -> Void)] {
        [
            ("settings", .configuration, settings), ("pipelines", .configuration, pipelines),
            ("schedules", .configuration, schedules), ("folders", .configuration, folders),
            ("devices", .configuration, devices), ("filesystem", .configuration, fileSystems),
            ("space", .configuration, space), ("daemon", .configuration, daemon),
            ("watcher", .configuration, watcher), ("inotify", .configuration, inotify),
            ("database", .data, database), ("invariants", .data, invariants), ("clock", .configuration, clock),
            ("inbox", .data, inbox), ("claimed", .data, claimed), ("runs", .data, runs),
            ("temporaries", .data, temporaries),
        ]
    }

    /// What a check finds.
    final class Report {
        private let code: String
        private let kind: Diagnosis.Kind
        private(set) var diagnoses: [Diagnosis] = []

        init(_ code: String, _ kind: Diagnosis.Kind) {
            self.code = code
            self.kind = kind
        }

        func problem(_ message: String, code: String? = nil, advice: String? = nil) {
            add(.problem, code, message, advice)
        }

        func warning(_ message: String, code: String? = nil, advice: String? = nil) {
            add(.warning, code, message, advice)
        }

        /// Says so unless something is wrong.
        func otherwise(_ message: String) { if diagnoses.isEmpty { add(.ok, nil, message, nil) } }

        private func add(_ verdict: Diagnosis.Verdict, _ code: String?, _ message: String, _ advice: String?) {
            diagnoses.append(
                Diagnosis(
                    code: code ?? self.code, verdict: verdict, kind: kind, message: message, advice: advice))
        }
    }

    // MARK: The database

    private func database(_ report: Report) throws {
        let file = workspace.database
        let name = workspace.relativePath(file)
        if try LostQueue.isLost(in: workspace) {
            return report.problem("\(name) is gone, and there have been jobs", advice: "lorajobs doctor --rebuild")
        }
        guard access(file.path, F_OK) == 0 else {
            return report.otherwise("there is none yet; the first daemon makes it")
        }
        do {
            let problems = try QueueHealth(workspace).problems()
            for problem in problems.prefix(5) {
                report.problem(
                    "\(name): \(problem)", code: "database.integrity", advice: "lorajobs doctor --rebuild")
            }
            guard problems.isEmpty else { return }
        } catch let error as OrchestrationError {
            return report.problem(error.description, code: "database.identity")
        }
        let queue = try JobQueue.openReadOnly(file)
        let journal = try queue.journalMode()
        let version = try queue.schemaVersion()
        try queue.close()
        if journal != "wal" {
            report.warning(
                "\(name) is in journal mode \(journal), not WAL", code: "database.journal",
                advice: "the next daemon sets it; keep the file on a local file system")
        }
        if access(file.path, W_OK) == 0 {
            // Of a connection as the daemon opens it: the setting is not kept in the file.
            do {
                let writer = try JobQueue.open(file)
                try writer.close()
            } catch let error as OrchestrationError where error.code == .wrongDatabase {
                report.problem(error.description, code: "database.synchronous")
            }
        } else {
            report.warning("\(name) cannot be written by this user", advice: "let its owner run the daemon and doctor")
        }
        report.otherwise("\(name) is sound: integrity, schema \(version), WAL, synchronous FULL")
    }

    private func invariants(_ report: Report) throws {
        if access(workspace.database.path, F_OK) == 0, try !QueueHealth(workspace).isSound { return }
        var invariants = Invariants(workspace, readsContent: readsContent)
        invariants.now = now
        for violation in try invariants.violations() {
            report.problem(
                "\(violation.subject): \(violation.message)", code: violation.invariant.rawValue,
                advice: violation.isRepairable
                    ? "lorajobs doctor --repair"
                    : violation.needsRebuild
                        ? "lorajobs doctor --rebuild" : "the rule is: \(violation.invariant.rule)")
        }
        report.otherwise(
            "I1 to I11 hold"
                + (readsContent ? "; every version and every cached output was read" : "; contents were not read"))
    }

    /// A clock that was set back lets schedules wait and ages become negative.
    private func clock(_ report: Report) throws {
        if access(workspace.database.path, F_OK) == 0, try QueueHealth(workspace).isSound {
            let queue = try JobQueue.openReadOnly(workspace.database)
            let newest = try queue.newestMoment()
            try queue.close()
            if let newest, newest > now.addingTimeInterval(60) {
                report.warning(
                    "the clock says \(now.formatted(.iso8601)), and the queue's newest row is of \(newest.formatted(.iso8601))",
                    advice: "see whether the clock was set back: timedatectl")
            }
        }
        if now < Date(timeIntervalSince1970: 1_700_000_000) {
            report.warning("the clock says \(now.formatted(.iso8601))", advice: "set it: timedatectl")
        }
        report.otherwise("\(now.formatted(.iso8601)), not before the newest row of the queue")
    }
}
