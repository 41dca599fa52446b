import CLinux
import Foundation
import Glibc
import PipelineSpec

/// Starts stage processes on this machine, each in a Unix session of its own, writing to `log.txt`: it outlives the
/// process that started it, and a signal meant for it reaches its children too.
struct LocalLauncher: Launcher {
    /// The executable and the arguments that come before the run directory.
    let command: [String]

    var name: String { "local" }

    func start(_ request: LaunchRequest) async throws -> any LaunchedWorker {
        guard let executable = command.first else {
            throw OrchestrationError(.invalidInput, "there is no command to start a stage with")
        }
        let directory = request.directory
        let log = Glibc.open(directory.log.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard log >= 0 else { throw OrchestrationError(system: "open", directory.log.path, errno) }
        defer { close(log) }
        var environment = ProcessInfo.processInfo.environment
        // The engine has its own threads; a BLAS that starts more would only get in their way.
        environment["OPENBLAS_NUM_THREADS"] = "1"
        environment["OMP_NUM_THREADS"] = "1"
        // Before it starts, so that what happens in its first moments is seen as a change.
        let witness = MemoryWitness()
        let pid = Self.withCStrings(command + [directory.url.path]) { arguments in
            Self.withCStrings(environment.map { "\($0)=\($1)" }) { variables in
                clinux_spawn_session(arguments, variables, directory.url.path, log)
            }
        }
        guard pid > 0 else {
            throw OrchestrationError(.io, "cannot start \(executable): \(String(cString: strerror(-pid)))")
        }
        let worker = LocalWorker(
            WorkerIdentity(pid: pid, startTime: WorkerProcess.startTime(pid)), directory, witness, isChild: true)
        worker.reap(wakeup: request.wakeup)
        return worker
    }

    func adopt(_ record: LaunchRecord) async throws -> (any LaunchedWorker)? {
        var identity = record.identity
        if record.bootID == (try WorkerProcess.bootID()) {
            if identity.pid == nil, let pid = WorkerProcess.find(workingIn: record.directory) {
                identity.pid = pid
                identity.startTime = WorkerProcess.startTime(pid)
            }
            if let pid = identity.pid, let start = identity.startTime, WorkerProcess.isAlive(pid: pid, startTime: start)
            {
                return LocalWorker(identity, record.directory, MemoryWitness(), isChild: false)
            }
        }
        // The lock is tried only when no process can be seen, so that the trial never comes between a process and its
        // own lock.
        guard try WorkerProcess.isLockHeld(record.directory) else { return nil }
        return LocalWorker(WorkerIdentity(), record.directory, MemoryWitness(), isChild: false)
    }

    /// Calls `body` with a C array of C strings that ends in a null pointer.
    private static func withCStrings<T>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> T
    ) -> T {
        var pointers = strings.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeBufferPointer { buffer in
            // A buffer with an element has an address.
            body(buffer.baseAddress.unsafelyUnwrapped)
        }
    }
}
