import Foundation
import Glibc
import PipelineSpec
import Synchronization

/// The last act of a stage process, `result.json`, which must succeed when nothing else does: some memory and some of
/// the disk are set aside for it.
final class LastWord: Sendable {
    private let attemptID: String
    private let directory: RunDirectory
    private let memory: Mutex<UnsafeMutableRawBufferPointer?>

    private static let reservedBytes = 64 << 10
    private static let reservedMemory = 8 << 20

    init(_ request: StageRequest, _ directory: RunDirectory) {
        attemptID = request.attemptID
        self.directory = directory
        memory = Mutex(
            malloc(Self.reservedMemory).map {
                UnsafeMutableRawBufferPointer(start: $0, count: Self.reservedMemory)
            })
        // When even this does not fit, the result may still.
        try? Data(count: Self.reservedBytes).write(to: reserve(directory))
    }

    deinit {
        release()
        unlink(reserve(directory).path)
    }

    /// Writes the result.
    ///
    /// When the disk is full, what was set aside is given up, and so is the product of an attempt that has failed:
    /// nobody will want it.
    func write(_ result: StageResult) throws {
        defer { unlink(reserve(directory).path) }
        do {
            try directory.write(result)
        } catch {
            unlink(reserve(directory).path)
            if result.exitCode != WorkerExit.done.rawValue { try? FileManager.default.removeItem(at: directory.out) }
            try directory.write(result)
        }
    }

    /// Says why the process ends, and ends it; from any thread.
    func end(_ failure: StageError) -> Never {
        release()
        StageProcess.complain(failure.description)
        let result = StageResult(
            attemptID: attemptID, exitCode: failure.exit.rawValue,
            failure: StageFailure(code: failure.code, message: failure.description),
            peakRSSBytes: ProcessUsage.peakRSSBytes, cpuSeconds: ProcessUsage.cpuSeconds)
        do { try write(result) } catch {
            StageProcess.complain("\(directory.result.path) cannot be written: \(error)")
        }
        _exit(failure.exit.rawValue)
    }

    private func release() {
        memory.withLock { memory in
            free(memory?.baseAddress)
            memory = nil
        }
    }
}

private func reserve(_ directory: RunDirectory) -> URL { directory.url.appending(path: ".reserve") }
