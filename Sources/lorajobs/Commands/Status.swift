import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the queue; works whether a daemon runs or not.",
        discussion: "Without --all, jobs that ended more than a day ago are left out.")

    @OptionGroup var options: WorkspaceOptions

    @Argument(help: "Only these jobs: ids or their unique beginnings.")
    var jobs: [String] = []

    @Flag(name: .shortAndLong, help: "Jobs that ended long ago too.") var all = false
    @Flag(name: .shortAndLong, help: "Draw it again whenever something changes, until Ctrl-C.") var watch = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if watch, json { throw ValidationError("--json is one object; leave out --watch") }
    }

    mutating func run() async throws {
        let workspace = try options.locate()
        var filter = JobFilter()
        filter.ids = jobs
        filter.includesOld = all
        guard watch else {
            let report = try StatusReport(workspace, filter)
            return json ? try StandardOutput.json(report.json) : try StandardOutput.write(report.text(.output))
        }
        var changes = StatusChanges(workspace)
        while !StandardOutput.isClosed {
            if try changes.check() {
                let report = try StatusReport(workspace, filter, queue: changes.queue)
                changes.drawn(report.progressFiles)
                let text = report.text(.output)
                let clear = "\u{1B}[H\u{1B}[J"
                try StandardOutput.write(Terminal.output.isInteractive ? clear + text : text + "\n")
            }
            try await Task.sleep(for: .seconds(1))
        }
    }
}

/// Notices that what `status` shows may have changed, for the price of a few file attributes and one number.
///
/// The database is opened once, to read, and nothing is read from it for longer than one question takes.
struct StatusChanges {
    private let workspace: Workspace
    private(set) var queue: JobQueue?
    /// The progress files of what ran when it was last drawn.
    private var progress: [URL] = []
    private var marks: [String] = []
    private var progressMarks: [String] = []

    init(_ workspace: Workspace) { self.workspace = workspace }

    /// Whether anything has changed since it was asked last; true at first.
    mutating func check() throws -> Bool {
        if queue == nil { queue = try QueueAccess.reading(workspace) }
        let daemon = try DaemonLock.holder(of: workspace)
        let found = [
            "\(try queue?.dataVersion() ?? -1)", "\(daemon?.pid ?? 0) \(daemon?.intakePaused ?? "")",
            Self.mark(workspace.inbox),
        ]
        let moved = progress.map(Self.mark)
        defer { (marks, progressMarks) = (found, moved) }
        return found != marks || moved != progressMarks
    }

    /// Says what was drawn, so that it is looked at from now on.
    mutating func drawn(_ files: [URL]) {
        progress = files
        progressMarks = files.map(Self.mark)
    }

    private static func mark(_ file: URL) -> String {
        var status = stat()
        guard stat(file.path(percentEncoded: false), &status) == 0 else { return "" }
        return "\(status.st_ino) \(status.st_size) \(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)"
    }
}
