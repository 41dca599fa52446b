import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show all that is known of a job: its values with their origins, its stages, attempts and numbers.")

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let workspace = try options.locate()
        let report = try JobReport(QueueAccess.detail(job, in: workspace), workspace)
        try json ? StandardOutput.json(report.json) : StandardOutput.write(report.text(.output))
    }
}
