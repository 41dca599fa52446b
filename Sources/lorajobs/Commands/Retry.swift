import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Retry: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Do a job that has ended again, as a new job; print its id.",
        discussion: """
            It goes on from the checkpoints of the old one and reads the same inputs, unless --fresh is given or they \
            were refused: those are read as they are now.
            """
    )

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Flag(name: .long, help: "Begin anew: read the inputs as they are now, and use no checkpoint.") var fresh = false
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        let workspace = try options.locate()
        let queue = try QueueAccess.writing(workspace, for: job)
        let id = try queue.retry(try JobLookup.id(job, in: queue), fresh: fresh)
        try queue.close()
        DaemonLock.poke(workspace)
        if json { return try StandardOutput.json(["jobs": .array([.object(["id": .string(id)])])]) }
        try StandardOutput.line(id)
        if try DaemonLock.holder(of: workspace) == nil {
            Talk.say("no daemon runs here; it starts when one does: lorajobs daemon")
        }
    }
}
