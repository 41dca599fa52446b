import GRDB
import Glibc

/// Why the queue, the intake or the supervisor could not do what was asked.
package struct OrchestrationError: Error, CustomStringConvertible, Sendable {
    /// A stable word for programs; new ones may be added.
    package struct Code: RawRepresentable, Sendable, Hashable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// No job, stage or file of that name or id.
        package static let notFound = Code(rawValue: "not_found")
        /// An id prefix that several jobs share.
        package static let ambiguous = Code(rawValue: "ambiguous")
        /// Another process holds the daemon's lock.
        package static let busy = Code(rawValue: "busy")
        /// What was asked does not fit the state of the job.
        package static let wrongState = Code(rawValue: "wrong_state")
        /// The database belongs to another program, or to a newer version of this one.
        package static let wrongDatabase = Code(rawValue: "wrong_database")
        /// The workspace lies where it cannot work.
        package static let badConfiguration = Code(rawValue: "bad_configuration")
        /// The database is damaged; what it says is worth nothing.
        package static let damagedDatabase = Code(rawValue: "damaged_database")
        /// Another daemon has taken over since; nothing was written.
        package static let fenced = Code(rawValue: "fenced")
        /// The user who asks may not do this.
        package static let permission = Code(rawValue: "permission")
        /// A system call failed.
        package static let io = Code(rawValue: "io")
        /// The file system is full.
        package static let diskFull = Code(rawValue: "disk_full")
        /// The input of a stage is wrong; another try would fail the same way.
        package static let invalidInput = Code(rawValue: "invalid_input")
        /// A file changed while it was read.
        package static let changed = Code(rawValue: "changed")
    }

    package let code: Code
    /// What happened, to which file or job, and what to do.
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    /// The failure of a system call, with its reason in words.
    init(system action: String, _ path: String, _ number: Int32) {
        let code: Code = number == ENOSPC || number == EDQUOT ? .diskFull : number == ENOENT ? .notFound : .io
        self.init(code, "cannot \(action) \(path): \(String(cString: strerror(number)))")
    }

    /// Whether a daemon that meets this error must end: another one has taken over, or the database is damaged.
    static func endsDaemon(_ error: any Error) -> Bool {
        switch error {
        case let error as OrchestrationError: error.code == .fenced
        case let error as DatabaseError: [.SQLITE_CORRUPT, .SQLITE_NOTADB].contains(error.resultCode)
        default: false
        }
    }

    /// That a database is damaged, and what to do.
    static func damaged(_ path: String, _ reason: String) -> OrchestrationError {
        OrchestrationError(
            .damagedDatabase,
            "the queue \(path) is damaged (\(reason)); end the daemon and make it anew from the files: "
                + "lorajobs doctor --rebuild")
    }

    /// Whether an error of any kind says that the disk is full.
    static func isDiskFull(_ error: any Error) -> Bool {
        switch error {
        case let error as OrchestrationError: error.code == .diskFull
        case let error as DatabaseError: error.resultCode == .SQLITE_FULL
        default: "\(error)".contains("No space left on device")
        }
    }
}
