import Foundation
import Glibc
import PipelineSpec
import Subprocess
import Synchronization
import SystemPackage

/// How a child process ended.
enum ChildExit: Sendable, Equatable {
    case code(Int32)
    case signal(Int32)
}

/// A stage process that this process started, and will hear of when it ends.
final class StartedWorker: Sendable {
    let pid: Int32
    /// In the kernel's ticks since boot; `nil` when it had ended before anyone could look.
    let startTime: Int64?
    private let exit = Mutex<ChildExit?>(nil)
    private let wakeup: Wakeup

    init(pid: Int32, wakeup: Wakeup) {
        self.pid = pid
        self.wakeup = wakeup
        startTime = WorkerProcess.startTime(pid)
    }

    /// How it ended, or `nil` while it runs.
    var ended: ChildExit? { exit.withLock { $0 } }

    func end(_ value: ChildExit) {
        exit.withLock { $0 = value }
        wakeup.signal()
    }
}

/// Starts stage processes on this machine, each in a Unix session of its own, writing to `log.txt`: it outlives the
/// process that started it, and a signal meant for it reaches its children too.
struct LocalLauncher: Sendable {
    /// The executable and the arguments that come before the run directory.
    let command: [String]

    /// Starts a process in the directory.
    ///
    /// - Parameter wakeup: Signalled when the process ends.
    func start(in directory: RunDirectory, wakeup: Wakeup) async throws -> StartedWorker {
        guard let executable = command.first else {
            throw OrchestrationError(.invalidInput, "there is no command to start a stage with")
        }
        let log: FileDescriptor
        do {
            log = try FileDescriptor.open(
                FilePath(directory.log.path), .writeOnly, options: [.create, .append, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch let error as Errno {
            throw OrchestrationError(system: "open", directory.log.path, error.rawValue)
        }
        var options = PlatformOptions()
        options.createSession = true
        let platform = options
        let arguments = Array(command.dropFirst()) + [directory.url.path]
        // The engine has its own threads; a BLAS that starts more would only get in their way.
        let environment: Subprocess.Environment = .inherit.updating([
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        ])
        return try await withCheckedThrowingContinuation { continuation in
            let started = Mutex<StartedWorker?>(nil)
            // Not a child task, and never cancelled: cancelling would end the process with it.
            Task.detached {
                do {
                    let result = try await Subprocess.run(
                        .path(FilePath(executable)), arguments: Arguments(arguments), environment: environment,
                        workingDirectory: FilePath(directory.url.path), platformOptions: platform, input: .none,
                        output: .fileDescriptor(log, closeAfterSpawningProcess: false),
                        error: .combinedWithOutput
                    ) { execution in
                        let worker = StartedWorker(pid: execution.processIdentifier.value, wakeup: wakeup)
                        started.withLock { $0 = worker }
                        continuation.resume(returning: worker)
                    }
                    try? log.close()
                    let worker = started.withLock { $0 }
                    switch result.terminationStatus {
                    case .exited(let code): worker?.end(.code(code))
                    case .signaled(let signal): worker?.end(.signal(signal))
                    }
                } catch {
                    try? log.close()
                    if let worker = started.withLock({ $0 }) {
                        // Its exit status is lost; result.json and the lock say the rest.
                        worker.end(.code(-1))
                    } else {
                        continuation.resume(
                            throwing: OrchestrationError(.io, "cannot start \(executable): \(error)"))
                    }
                }
            }
        }
    }
}
