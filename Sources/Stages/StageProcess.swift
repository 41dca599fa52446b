import Adapters
import Artifacts
import Foundation
import Glibc
import Images
import Models
package import PipelineSpec
import TensorCore
import Tokenizers
import Training

/// A stage as a process: what `lorajobs stage RUNDIR` does.
package enum StageProcess {
    /// Runs the stage that `request.json` asks for and writes `result.json` as its last act.
    ///
    /// - Returns: the exit code; see ``WorkerExit``. Nothing is thrown: every failure is in the result.
    package static func run(_ directory: RunDirectory) -> Int32 {
        // The lock comes first: who abandons an attempt takes it and removes the request, and a late starter finds none.
        guard let lock = takeLock(directory.lock) else {
            complain("\(directory.lock.path) is locked: another process runs this attempt")
            return WorkerExit.tryAgain.rawValue
        }
        defer { close(lock) }
        let request: StageRequest
        do {
            try Failpoint.workerLocked.hit()
            request = try directory.readRequest()
        } catch {
            complain("\(error)")
            // What is not a request stays none; what cannot be read now may be read later.
            return ((error as? SpecError)?.code == .format ? WorkerExit.invalidInput : .tryAgain).rawValue
        }
        let lastWord = LastWord(request, directory)
        StopSignals.shared.install { lastWord.end(StageError.stopped) }
        MemoryExhaustion.whenExhausted { lastWord.end(StageError(refused: $0)) }
        Parallel.threadCount = request.threads
        Engine.reserveProductBuffers()
        let result = result(of: request, in: directory)
        // Done is done, and a failure stays one: whoever asks to stop now is too late.
        StopSignals.shared.finish()
        do {
            try Failpoint.workerDone.hit()
            try lastWord.write(result)
            try Failpoint.workerReported.hit()
        } catch {
            complain("\(directory.result.path) cannot be written: \(error)")
            return WorkerExit.tryAgain.rawValue
        }
        return result.exitCode
    }

    private static func result(of request: StageRequest, in directory: RunDirectory) -> StageResult {
        var result = StageResult(attemptID: request.attemptID, exitCode: WorkerExit.done.rawValue)
        do {
            let run = try StageRun(request: request, directory: directory)
            defer { result.metrics = run.metrics }
            try Failpoint.workerReady.hit()
            try StageRegistry.stage(request.uses).run(run)
            try run.write(InputRecord(request), to: InputRecord.fileName)
            result.publications = run.publications
            result.cut = run.cut
        } catch {
            let failure = StageError(classifying: error)
            complain(failure.description)
            result.exitCode = failure.exit.rawValue
            result.failure = StageFailure(code: failure.code, message: failure.description)
        }
        result.peakRSSBytes = ProcessUsage.peakRSSBytes
        result.cpuSeconds = ProcessUsage.cpuSeconds
        return result
    }

    /// Opens and locks the file for as long as the process lives; `nil` when someone else has it.
    private static func takeLock(_ file: URL) -> Int32? {
        let descriptor = open(file.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return nil }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    static func complain(_ message: String) {
        FileHandle.standardError.write(Data("error: \(message)\n".utf8))
    }
}

extension StageError {
    /// Decides what an error of any floor means for a retry.
    ///
    /// What the floors below say about files and settings is wrong input and stays wrong; a full disk or a changed input may
    /// be another matter the next time; whatever is unknown is worth another try.
    init(classifying error: any Error) {
        switch error {
        case let error as StageError: self = error
        case _ where "\(error)".contains(String(cString: strerror(ENOMEM))):
            self.init(StageError.outOfMemory, "\(error)", exit: .tryAgain)
        case let error as ModelError: self.init("base_\(error.code.rawValue)", error.description)
        case let error as ImageError: self.init("base_\(error.code.rawValue)", error.description)
        case let error as AdapterError:
            // What does not read back as it was written is the disk's doing, not the user's.
            self.init("adapter", error.description, exit: error.code == .verification ? .tryAgain : .invalidInput)
        case let error as TokenizerError: self.init("tokenizer_\(error.code.rawValue)", error.description)
        case let error as WeightFileError where error.code == .noSpace: self.init(diskFull: error.description)
        case let error as WeightFileError:
            self.init(
                "weights_\(error.code.description)", error.description,
                exit: error.code == .system ? .tryAgain : .invalidInput)
        case let error as TrainingError where error.code == .noSpace: self.init(diskFull: error.description)
        case let error as TrainingError:
            self.init(
                error.code.description, error.description, exit: error.code == .system ? .tryAgain : .invalidInput)
        case let error as ArtifactError where error.code == .noSpace: self.init(diskFull: error.description)
        case let error as ArtifactError:
            let isPassing = [.io, .inputsChanged].contains(error.code)
            self.init(error.code.rawValue, error.description, exit: isPassing ? .tryAgain : .invalidInput)
        case let error as CocoaError where error.code == .fileWriteOutOfSpace:
            self.init(diskFull: error.filePath ?? error.localizedDescription)
        case let error as BadRecord: self.init("bad_record", error.description)
        // A value that cannot be written now cannot be written later.
        case let error as EncodingError: self.init("stage_error", "\(error)")
        default:
            self.init("stage_error", "\(error)", exit: .tryAgain)
        }
    }

    /// The code for a failure that less memory at once may prevent.
    static let outOfMemory = "out_of_memory"

    /// - Parameter byteCount: what was asked for, and not given.
    init(refused byteCount: Int) {
        self.init(
            Self.outOfMemory, "the system refused \(byteCount >> 10) KiB for a tensor", exit: .tryAgain)
    }

    /// - Parameter what: what could not be written, and the system's words.
    private init(diskFull what: String) {
        self.init("no_space", "the disk is full: \(what). Free some space; the stage is tried again", exit: .tryAgain)
    }
}
