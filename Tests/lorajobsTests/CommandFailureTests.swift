import Artifacts
import Foundation
import Orchestration
import PipelineSpec
import Testing

@testable import lorajobs

/// Which exit code each error of the floors below becomes.
@Suite struct CommandFailureTests {
    @Test func manifests() {
        let invalid = InvalidFile([Finding(.unknownKey, at: SourceMark(line: 3, column: 5), "lora_r: unknown key")])
        #expect(CommandFailure(invalid).status == .invalidInput)
        #expect(CommandFailure(invalid).description.contains("line 3, col 5"))
        #expect(CommandFailure(SpecError(.noWorkspace, "x")).status == .notFound)
        #expect(CommandFailure(SpecError(.key, "x")).status == .usage)
        #expect(CommandFailure(SpecError(.format, "x")).status == .invalidInput)
        #expect(CommandFailure(SpecError(.io, "x")).status == .ioError)
        #expect(CommandFailure(SpecError(.io, "x", systemError: EIO)).status == .ioError)
        #expect(CommandFailure(SpecError(.io, "x", systemError: EACCES)).status == .cannotWrite)
    }

    @Test func aFullDiskSaysWhatToDo() {
        let failure = CommandFailure(SpecError(.io, "cannot write f: No space left on device", systemError: ENOSPC))
        #expect(failure.status == .cannotWrite)
        #expect(failure.description.hasSuffix("free some space and try again"))
        #expect(CommandFailure(ArtifactError(.noSpace, "x")).status == .cannotWrite)
        #expect(CommandFailure(OrchestrationError(.diskFull, "x")).status == .cannotWrite)
        #expect(CommandFailure(CocoaError(.fileWriteOutOfSpace)).status == .cannotWrite)
        #expect(CommandFailure(POSIXError(.ENOSPC)).status == .cannotWrite)
    }

    @Test(arguments: [
        (ArtifactError.Code.invalidReference, PipelineSpec.ExitStatus.usage), (.noSuchArtifact, .notFound),
        (.noSuchVersion, .notFound),
        (.noSuchAlias, .notFound), (.damaged, .invalidInput), (.destinationExists, .cannotWrite), (.io, .ioError),
    ])
    func store(code: ArtifactError.Code, status: PipelineSpec.ExitStatus) {
        #expect(CommandFailure(ArtifactError(code, "what happened")).status == status)
        #expect(CommandFailure(ArtifactError(code, "what happened")).description == "what happened")
    }

    @Test(arguments: [
        (OrchestrationError.Code.notFound, PipelineSpec.ExitStatus.notFound), (.ambiguous, .usage),
        (.wrongState, .usage),
        (.busy, .busy), (.wrongDatabase, .badConfiguration), (.io, .ioError), (.invalidInput, .invalidInput),
    ])
    func queue(code: OrchestrationError.Code, status: PipelineSpec.ExitStatus) {
        #expect(CommandFailure(OrchestrationError(code, "x")).status == status)
    }

    /// As the database layer words its errors.
    private struct DatabaseError: Error, CustomStringConvertible { var description: String }

    @Test(arguments: [
        (5, PipelineSpec.ExitStatus.busy), (517, .busy), (8, .cannotWrite), (13, .cannotWrite), (14, .ioError),
        (11, .ioError),
    ])
    func database(number: Int, status: PipelineSpec.ExitStatus) {
        let failure = CommandFailure(
            DatabaseError(description: "SQLite error \(number): oh dear - while executing `SELECT 1`"))
        #expect(failure.status == status)
        #expect(failure.description.contains("oh dear"))
        #expect(!failure.description.contains("SELECT"))
    }

    @Test func anythingElseKeepsItsWords() {
        let failure = CommandFailure(DatabaseError(description: "the cat sat on it"))
        #expect(failure.status == .ioError)
        #expect(failure.description == "the cat sat on it")
    }

    @Test func exitCodeOfSeveralJobs() {
        #expect(JobWatch.exitStatus([.succeeded, .succeeded]) == .ok)
        #expect(JobWatch.exitStatus([.succeeded, .cancelled]) == .jobCancelled)
        #expect(JobWatch.exitStatus([.cancelled, .failed]) == .jobFailed)
        #expect(JobWatch.exitStatus([.skipped]) == .jobFailed)
    }
}
