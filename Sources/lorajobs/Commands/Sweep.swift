import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Sweep: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show how the trials of a manifest with a matrix have done, the best first.",
        discussion: """
            Trials are ranked by the loss on the validation split, or by matrix.metric there; the test split is seen \
            by none of them. --take makes a job with the winner's values that trains on all data and runs the whole \
            pipeline, as then: train does by itself.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The name, for its newest sweep, or the id of a sweep or of a trial; without it, all sweeps.")
    var sweep: String?
    @Flag(name: .long, help: "Make a job with the winner's values, and print its id.") var take = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if take, sweep == nil { throw ValidationError("--take goes with a sweep") }
    }

    mutating func run() throws {
        let workspace = try options.locate()
        guard let queue = try QueueAccess.reading(workspace) else {
            if let sweep { throw JobLookup.failure(sweep, among: []) }
            return json ? try StandardOutput.json(["sweeps": .array([])]) : Talk.say("there is no sweep yet")
        }
        guard let sweep else { return try list(queue) }
        if take {
            let writer = try JobQueue.open(workspace)
            let id = try writer.takeWinner(of: sweep)
            DaemonLock.poke(workspace)
            return json
                ? try StandardOutput.json(["jobs": .array([.object(["id": .string(id)])])])
                : try StandardOutput.line(id)
        }
        let report = SweepReport(sweep: try queue.sweep(sweep))
        try json
            ? StandardOutput.json(["sweep": .object(report.json)]) : StandardOutput.write(report.text(.output))
    }

    private func list(_ queue: JobQueue) throws {
        let sweeps = try queue.sweeps()
        if json {
            return try StandardOutput.json([
                "sweeps": .array(sweeps.map { .object(SweepReport(sweep: $0).json) })
            ])
        }
        if sweeps.isEmpty { return Talk.say("there is no sweep yet; matrix in a manifest makes one") }
        var table = Table("ID NAME >TRIALS >ENDED >BEST METRIC ~KEYS")
        for sweep in sweeps {
            table.add([
                Table.Cell(sweep.id), Table.Cell(sweep.name), Table.Cell("\(sweep.trials.count)"),
                Table.Cell("\(sweep.trials.count { $0.state.isFinal })"),
                Table.Cell(sweep.winner?.value.map { String(format: "%.4f", $0) } ?? ""),
                Table.Cell(sweep.metric.rawValue),
                Table.Cell(sweep.keys.joined(separator: ", ")),
            ])
        }
        try StandardOutput.write(table.text(.output))
    }
}
