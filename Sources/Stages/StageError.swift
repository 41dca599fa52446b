package import PipelineSpec

/// Why a stage could not do its work.
package struct StageError: Error, CustomStringConvertible {
    /// A stable word for programs.
    package let code: String
    /// What happened, where, and what to do.
    package let description: String
    /// Whether another try may succeed.
    package let exit: WorkerExit

    package init(_ code: String, _ description: String, exit: WorkerExit = .invalidInput) {
        self.code = code
        self.description = description
        self.exit = exit
    }

    /// The stage was asked to stop and left a checkpoint.
    static let stopped = StageError(
        "stopped", "stopped on request; a retry goes on from the checkpoint", exit: .stopped)
}
