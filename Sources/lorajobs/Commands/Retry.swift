import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Retry: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Do a job that has ended again, as a new job; print its id.",
        discussion: """
            It goes on from the checkpoints of the old one and reads the same inputs, unless --fresh is given or they \
            were refused: those are read as they are now. With --fresh every stage runs again, whatever was made \
            before: no checkpoint and no cached output is used, and there is a new version even of an unchanged night. \
            With --from, the stages that the named one does not need \
            are taken as they are, and it and all that need it run again, whatever was made before.
            """
    )

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The job's id, or its unique beginning.") var job: String
    @Flag(name: .long, help: "Begin anew: read the inputs as they are now, and run every stage.") var fresh = false
    @Option(name: .long, help: ArgumentHelp("Run this stage again, and all that need it.", valueName: "stage"))
    var from: String?
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func validate() throws {
        if fresh, from != nil {
            throw ValidationError("--from takes the stages before it as they are, and --fresh begins anew; give one")
        }
    }

    mutating func run() throws {
        let workspace = try options.locate()
        let queue = try QueueAccess.writing(workspace, for: job)
        let id = try queue.retry(try JobLookup.id(job, in: queue), fresh: fresh, from: from)
        try queue.close()
        DaemonLock.poke(workspace)
        if json { return try StandardOutput.json(["jobs": .array([.object(["id": .string(id)])])]) }
        try StandardOutput.line(id)
        if try DaemonLock.holder(of: workspace) == nil {
            Talk.say("no daemon runs here; it starts when one does: lorajobs daemon")
        }
    }
}
