import CLinux
package import Foundation
import GRDB
import Glibc
package import PipelineSpec

extension JobQueue {
    /// Writes a copy of the whole queue as it is at one moment, while others go on writing.
    ///
    /// The copy is one file, sound by itself, and appears whole or not at all.
    ///
    /// - Throws: `io` when there is a file of that name, or it cannot be written; `diskFull`.
    package func backUp(to file: URL) throws {
        let path = file.path(percentEncoded: false)
        let folder = file.deletingLastPathComponent().path(percentEncoded: false)
        let temporary = folder + (folder.hasSuffix("/") ? "" : "/") + ".\(file.lastPathComponent).\(ULID()).tmp"
        defer { unlink(temporary) }
        do {
            try Self.copy(database, to: temporary)
        } catch  where OrchestrationError.isDiskFull(error) {
            throw OrchestrationError(.diskFull, "cannot write \(path): the disk is full")
        }
        // SQLite does not wait for the disk here.
        let descriptor = Glibc.open(temporary, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw OrchestrationError(system: "open", temporary, errno) }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw OrchestrationError(system: "sync", temporary, errno) }
        guard clinux_rename_noreplace(temporary, path) == 0 else {
            throw OrchestrationError(system: "make the backup", path, errno)
        }
        try AtomicFile.syncFolder(folder)
    }

    /// Copies a database page by page within one read transaction.
    ///
    /// Not with `VACUUM INTO`, which SQLite 3.40 refuses for a table with a generated column.
    static func copy(_ database: any DatabaseReader, to path: String) throws {
        let copy = try DatabaseQueue(path: path)
        try database.backup(to: copy)
        // The copied header asks for a log beside the file; a backup is one file.
        try copy.writeWithoutTransaction { _ = try String.fetchOne($0, sql: "PRAGMA journal_mode = DELETE") }
        try copy.close()
    }

    /// Where a backup lies that is not told where: beside the queue, with the time of the clock in UTC.
    package static func backupFile(of workspace: Workspace, at date: Date = Date()) -> URL {
        URL(filePath: workspace.database.path(percentEncoded: false) + ".backup-" + stamp(date))
    }

    /// Backups beside the queue, the newest first.
    package static func backups(of workspace: Workspace) throws -> [URL] {
        let prefix = workspace.database.lastPathComponent + ".backup-"
        return try InboxEntry.names(in: InboxEntry.path(workspace.jobs)).filter {
            $0.hasPrefix(prefix) && !$0.hasSuffix("-wal") && !$0.hasSuffix("-shm")
        }.reversed().map { workspace.jobs.appending(path: $0) }
    }

    /// `20261121T020000Z`: names of files sort by it.
    static func stamp(_ date: Date) -> String {
        date.formatted(
            .iso8601.year().month().day().time(includingFractionalSeconds: false).timeZone(separator: .omitted)
        )
        .filter { !"-:".contains($0) }
    }
}
