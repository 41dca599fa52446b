import Foundation
import PipelineSpec

@testable import Orchestration

/// Completes every stage at once, in this process.
struct InProcessLauncher: Launcher {
    var name: String { "in-process" }

    func start(_ request: LaunchRequest) async throws -> any LaunchedWorker {
        let wanted = try request.directory.readRequest()
        try Data(wanted.cacheKey.utf8).write(to: request.directory.out.appending(path: "product.txt"))
        try request.directory.write(
            StageResult(attemptID: wanted.attemptID, exitCode: 0, metrics: ["loss": 1], peakRSSBytes: 1, cpuSeconds: 1))
        return DoneWorker(identity: WorkerIdentity(externalID: "done-\(request.attemptID)"))
    }

    func adopt(_ record: LaunchRecord) async throws -> (any LaunchedWorker)? { nil }
}

private struct DoneWorker: LaunchedWorker {
    let identity: WorkerIdentity
    var end: WorkerEnd? { WorkerEnd(exit: .code(0)) }

    func isAlive() async throws -> Bool { false }
    func stop() {}
    func kill() {}
}
