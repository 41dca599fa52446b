import Artifacts
import Foundation
import Orchestration
import PipelineSpec
import Stages

/// Why a command ends: what it tells the person, and what it tells the shell.
///
/// This is the one place where errors of the floors below become exit codes.
struct CommandFailure: Error, CustomStringConvertible {
    let status: ExitStatus
    /// What is wrong, where, and what to type next.
    ///
    /// Empty when everything has been said.
    let description: String

    init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }

    /// The failure that an error of any floor means.
    init(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let error as InvalidFile: self.init(.invalidInput, error.description)
        case let error as RefusedSubmission: self.init(.invalidInput, error.description)
        case let error as SpecError: self.init(Self.status(of: error), Self.advised(error))
        case let error as ArtifactError: self.init(Self.status(of: error), error.description)
        case let error as StageError:
            self.init(error.exit == .invalidInput ? .invalidInput : .ioError, error.description)
        case let error as OrchestrationError: self.init(Self.status(of: error), error.description)
        case let error as POSIXError:
            self.init(Self.status(ofSystemError: error.code.rawValue), String(cString: strerror(error.code.rawValue)))
        case let error as CocoaError: self.init(Self.status(of: error), error.localizedDescription)
        default: self.init(unknown: error)
        }
    }

    private static func status(of error: SpecError) -> ExitStatus {
        switch error.code {
        case .noWorkspace: .notFound
        case .format: .invalidInput
        case .key: .usage
        // Only writing tells the number of its error.
        case .io: error.systemError == nil || error.systemError == EIO ? .ioError : .cannotWrite
        default: .ioError
        }
    }

    private static func advised(_ error: SpecError) -> String {
        switch error.systemError {
        case ENOSPC, EDQUOT: error.description + "; free some space and try again"
        case EACCES, EPERM: error.description + "; this user may not write there"
        default: error.description
        }
    }

    private static func status(of error: ArtifactError) -> ExitStatus {
        switch error.code {
        case .invalidReference, .invalidName, .inUse, .rejected: .usage
        case .noSuchArtifact, .noSuchVersion, .noSuchAlias, .notFound: .notFound
        case .damaged, .inputsChanged, .invalidFolder: .invalidInput
        case .destinationExists, .noSpace: .cannotWrite
        default: .ioError
        }
    }

    private static func status(of error: OrchestrationError) -> ExitStatus {
        switch error.code {
        case .notFound: .notFound
        case .ambiguous, .wrongState: .usage
        case .busy, .fenced, .changed: .busy
        case .wrongDatabase, .badConfiguration: .badConfiguration
        case .diskFull, .permission: .cannotWrite
        case .invalidInput: .invalidInput
        default: .ioError
        }
    }

    private static func status(of error: CocoaError) -> ExitStatus {
        switch error.code {
        case .fileNoSuchFile, .fileReadNoSuchFile: .notFound
        case .fileWriteOutOfSpace, .fileWriteNoPermission, .fileWriteVolumeReadOnly, .fileWriteFileExists: .cannotWrite
        default: .ioError
        }
    }

    private static func status(ofSystemError number: Int32) -> ExitStatus {
        switch number {
        case ENOENT: .notFound
        case ENOSPC, EDQUOT, EROFS: .cannotWrite
        case EAGAIN, EBUSY: .busy
        default: .ioError
        }
    }

    /// SQLite's errors come through two floors as their text alone: `SQLite error 13: database or disk is full`.
    private init(unknown error: any Error) {
        let text = "\(error)"
        guard let match = text.prefixMatch(of: #/SQLite error (\d+)/#), let extended = Int(match.1) else {
            self.init(.ioError, text)
            return
        }
        let words = text.prefix { $0 != "\n" }.split(separator: " - while executing").first.map(String.init) ?? text
        switch extended & 0xFF {
        case 5, 6: self.init(.busy, "the queue is busy: \(words); try again in a moment")
        case 8: self.init(.cannotWrite, "the queue cannot be written: \(words); look at the rights of the folder Jobs")
        case 13: self.init(.cannotWrite, "the queue cannot be written: \(words); free some space and try again")
        case 14: self.init(.ioError, "the queue cannot be opened: \(words); look at the rights of the folder Jobs")
        case 11, 26:
            self.init(
                .ioError,
                "the queue Jobs/lorajobs.sqlite is damaged: \(words); end the daemon and make it anew from the files: "
                    + "lorajobs doctor --rebuild")
        default: self.init(.ioError, "the queue cannot be read: \(words)")
        }
    }
}
