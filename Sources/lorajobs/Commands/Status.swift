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
    @Flag(name: .shortAndLong, help: "Draw it again every second, until Ctrl-C.") var watch = false
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
        while !StandardOutput.isClosed {
            let text = try StatusReport(workspace, filter).text(.output)
            let clear = "\u{1B}[H\u{1B}[J"
            try StandardOutput.write(Terminal.output.isInteractive ? clear + text : text + "\n")
            try await Task.sleep(for: .seconds(1))
        }
    }
}
