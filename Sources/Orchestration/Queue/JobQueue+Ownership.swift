import Foundation
import GRDB
import Glibc
import Synchronization

/// Who may change what.
extension JobQueue {
    /// The user whose daemon works here: the owner of the database file.
    func daemonUser() throws -> UInt32 {
        var status = stat()
        guard stat(database.path, &status) == 0 else {
            throw OrchestrationError(system: "examine", database.path, errno)
        }
        return status.st_uid
    }

    /// Lets the owner of a job, the daemon's user and root pass.
    ///
    /// - Parameter user: Who asks.
    /// - Throws: `permission`; `notFound`.
    func authorize(_ db: Database, _ job: String, as user: UInt32) throws {
        guard let owner = try UInt32.fetchOne(db, sql: "SELECT owner_uid FROM job WHERE id = ?", arguments: [job])
        else { throw OrchestrationError(.notFound, "there is no job \(job)") }
        if user == owner || user == 0 { return }
        guard try user == daemonUser() else {
            throw OrchestrationError(
                .permission,
                "job \(job) belongs to \(Self.name(of: owner)); only they, the daemon's user and root may change it, "
                    + "not \(Self.name(of: user))")
        }
    }

    /// Lets the daemon's user and root pass, for what concerns everybody's jobs.
    ///
    /// - Throws: `permission`.
    func authorizeQueues(as user: UInt32) throws {
        if user == 0 { return }
        let owner = try daemonUser()
        guard user == owner else {
            throw OrchestrationError(
                .permission,
                "queues belong to \(Self.name(of: owner)), whose daemon works here; only they and root may change "
                    + "them, not \(Self.name(of: user))"
            )
        }
    }

    /// Lets the owner of a schedule's file, the daemon's user and root pass.
    ///
    /// - Throws: `permission`.
    func authorize(_ schedule: ScheduleEntry, as user: UInt32) throws {
        if user == schedule.ownerID || user == 0 { return }
        guard try user == daemonUser() else {
            throw OrchestrationError(
                .permission,
                "schedule \(schedule.id) belongs to \(Self.name(of: schedule.ownerID)); only they, the daemon's user "
                    + "and root may change it, not \(Self.name(of: user))")
        }
    }

    /// A user as people know them: the name, or the number where there is none.
    package static func name(of user: UInt32) -> String {
        // Looked up once: a list of jobs asks for each of them. The lock also guards what the C library shares.
        names.withLock { names in
            if let known = names[user] { return known }
            let name = getpwuid(user).flatMap { $0.pointee.pw_name }.map { String(cString: $0) } ?? "user \(user)"
            names[user] = name
            return name
        }
    }

    private static let names = Mutex<[UInt32: String]>([:])
}
