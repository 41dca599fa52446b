package import Foundation
import GRDB
import Glibc
import PipelineSpec

/// The queue: every state of every job, in one SQLite database.
///
/// Each method is one transaction.
///
/// The daemon uses a queue that is fenced by its epoch (``taken(by:cores:memoryBytes:)``); the command line uses a
/// plain one, which works whether a daemon runs or not. Writes are synchronous and therefore cannot be cancelled half
/// way with the task that makes them.
package struct JobQueue: Sendable {
    let database: any DatabaseWriter
    /// The daemon this queue writes for; `nil` for the command line.
    let epoch: Int64?
    /// Milliseconds since 1970.
    let now: @Sendable () -> Int64

    /// Milliseconds since 1970 on the wall clock.
    package static let wallClock: @Sendable () -> Int64 = { Int64((Date().timeIntervalSince1970 * 1000).rounded()) }

    /// Opens the database to read and write; makes it, or brings its tables up to date, where needed.
    ///
    /// - Throws: `wrongDatabase` when the file is of another program or of a newer version of this one.
    package static func open(_ file: URL, now: @escaping @Sendable () -> Int64 = wallClock) throws -> JobQueue {
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.journalMode = .wal
        configuration.label = "queue"
        let turn = try OpeningTurn.isNeeded(file) ? OpeningTurn(file) : nil
        let database = try DatabaseQueue(path: file.path, configuration: configuration)
        try checkOwnership(database, file)
        // GRDB lowers `synchronous` to NORMAL when it sets up WAL, which can lose what was committed when power
        // fails. So it is set after the opening, and read back.
        try database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        try bringUpToDate(database, file, turn)
        let queue = JobQueue(database: database, epoch: nil, now: now)
        guard try queue.synchronous() == 2 else {
            throw OrchestrationError(
                .wrongDatabase,
                "\(file.path): SQLite did not accept PRAGMA synchronous = FULL; commits may not be durable")
        }
        return queue
    }

    /// Makes the tables, or migrates them, where they are not of this version.
    private static func bringUpToDate(_ database: DatabaseQueue, _ file: URL, _ turn: OpeningTurn?) throws {
        func isCurrent() throws -> Bool {
            try database.read { try Int32.fetchOne($0, sql: "PRAGMA user_version") } == QueueSchema.version
        }
        if try isCurrent() { return }
        let turn = try turn ?? OpeningTurn(file)
        defer { withExtendedLifetime(turn) {} }
        if try isCurrent() { return }
        try QueueBackup(of: file).make(database)
        try QueueSchema.migrator.migrate(database)
        try database.writeWithoutTransaction { db in
            try db.execute(
                sql: """
                    PRAGMA application_id = \(QueueSchema.applicationID);
                    PRAGMA user_version = \(QueueSchema.version);
                    """)
        }
    }

    /// Opens the database to read only, whether a daemon runs or not.
    ///
    /// - Throws: `notFound` when there is none yet; `wrongDatabase` as ``open(_:now:)``.
    package static func openReadOnly(
        _ file: URL, now: @escaping @Sendable () -> Int64 = wallClock
    ) throws -> JobQueue {
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw OrchestrationError(
                .notFound, "there is no queue at \(file.path) yet; it is made when the first job is submitted and run")
        }
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        configuration.readonly = true
        configuration.label = "queue (read only)"
        func opened(_ path: String) throws -> DatabaseQueue {
            let database = try DatabaseQueue(path: path, configuration: configuration)
            try checkOwnership(database, file)
            return database
        }
        var found: DatabaseQueue?
        do {
            found = try opened(file.path)
        } catch let error as DatabaseError
            where error.resultCode == .SQLITE_CANTOPEN && access(file.deletingLastPathComponent().path, W_OK) != 0
        {
            // Closed in good order, the log beside the database is gone, and where nothing can be written it cannot be made
            // again. Nobody else can write there either, so the file stays as it is.
            guard errno == EROFS, access(file.path + "-wal", F_OK) != 0 else { throw error }
        }
        let path = file.path.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? file.path
        let database = try found ?? opened("file:\(path)?immutable=1")
        let version = try database.read { try Int32.fetchOne($0, sql: "PRAGMA user_version") ?? 0 }
        guard version != 0 else {
            throw OrchestrationError(.notFound, "the queue at \(file.path) is being made; try again")
        }
        if version < QueueSchema.version { try open(file).close() }
        return JobQueue(database: database, epoch: nil, now: now)
    }

    private static func checkOwnership(_ database: DatabaseQueue, _ file: URL) throws {
        let (application, version, isEmpty) = try database.read { db in
            (
                try Int32.fetchOne(db, sql: "PRAGMA application_id") ?? 0,
                try Int32.fetchOne(db, sql: "PRAGMA user_version") ?? 0,
                try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_schema") == 0
            )
        }
        // A daemon that was killed before the id was written leaves the tables and no id.
        let isOurs = application == QueueSchema.applicationID
        guard isOurs || application == 0 && version == 0 else {
            throw OrchestrationError(
                .wrongDatabase,
                "\(file.path) is a database of another program; move it away or choose another workspace")
        }
        if !isOurs && !isEmpty {
            let isUnfinished = try database.read {
                try $0.tableExists("grdb_migrations") && ($0.tableExists("job") || !$0.tableExists("sqlite_sequence"))
            }
            guard isUnfinished else {
                throw OrchestrationError(
                    .wrongDatabase,
                    "\(file.path) is a database of another program; move it away or choose another workspace")
            }
        }
        guard version <= QueueSchema.version else {
            throw OrchestrationError(
                .wrongDatabase,
                "\(file.path) has schema \(version), newer than the \(QueueSchema.version) this program knows; upgrade lorajobs"
            )
        }
    }

    /// The value of `PRAGMA synchronous`; 2 is FULL, the only one under which a commit survives loss of power.
    package func synchronous() throws -> Int {
        try database.read { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? -1 }
    }

    /// SQLite's own checks of the file; empty when it is sound.
    package func integrityProblems() throws -> [String] {
        try database.read { db in
            let integrity = try String.fetchAll(db, sql: "PRAGMA integrity_check").filter { $0 != "ok" }
            let foreign = try Row.fetchAll(db, sql: "PRAGMA foreign_key_check").map { "foreign key: \($0)" }
            return integrity + foreign
        }
    }

    /// The same queue for a daemon that starts now: fenced, so that no earlier daemon can write any more.
    package func taken(by pid: Int32, cores: Int, memoryBytes: Int64? = nil) throws -> JobQueue {
        let epoch = try database.write { db -> Int64 in
            let last = try Int64.fetchOne(db, sql: "SELECT epoch FROM daemon") ?? 0
            try db.execute(
                sql: """
                    INSERT INTO daemon (one, epoch, boot_id, pid, cores, memory_bytes, started_ms)
                    VALUES (1, ?, ?, ?, ?, ?, ?)
                    ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch, boot_id = excluded.boot_id,
                      pid = excluded.pid, cores = excluded.cores, memory_bytes = excluded.memory_bytes,
                      started_ms = excluded.started_ms
                    """,
                arguments: [last + 1, try WorkerProcess.bootID(), pid, cores, memoryBytes, now()])
            return last + 1
        }
        return JobQueue(database: database, epoch: epoch, now: now)
    }

    /// Releases the file.
    package func close() throws { try database.close() }

    /// Whether this daemon's queue is still its own.
    ///
    /// - Throws: `fenced` when another daemon has taken over.
    func checkFence() throws {
        if let epoch, try read({ try Int64.fetchOne($0, sql: "SELECT epoch FROM daemon") }) != epoch {
            throw OrchestrationError(.fenced, "another daemon has taken over this workspace; this one stops")
        }
    }

    /// One transaction, refused when another daemon has taken over.
    func write<T>(_ body: (Database) throws -> T) throws -> T {
        let value = try database.write { db in
            if let epoch, try Int64.fetchOne(db, sql: "SELECT epoch FROM daemon") != epoch {
                throw OrchestrationError(.fenced, "another daemon has taken over this workspace; this one stops")
            }
            let value = try body(db)
            try Failpoint.queueCommitting.hit()
            return value
        }
        try Failpoint.queueCommitted.hit()
        return value
    }

    func read<T>(_ body: (Database) throws -> T) throws -> T { try database.read(body) }

    /// Adds a line to the history.
    func note(
        _ db: Database, _ kind: String, job: String? = nil, stage: String? = nil, attempt: String? = nil,
        _ data: [String: String] = [:]
    ) throws {
        let text = String(decoding: try ProtocolJSON.encode(data), as: UTF8.self)
        try db.execute(
            sql: "INSERT INTO event (at_ms, job_id, stage_id, attempt_id, kind, data) VALUES (?, ?, ?, ?, ?, ?)",
            arguments: [now(), job, stage, attempt, kind, text])
    }
}
