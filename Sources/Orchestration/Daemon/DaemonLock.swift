package import Foundation
import Glibc
package import PipelineSpec

/// The lock that makes a process the only daemon of a workspace, held for as long as this object lives.
///
/// The file says who holds it; it is written in place, so that it can still say so when the disk is full.
package final class DaemonLock: Sendable {
    /// What the holder says of itself.
    package struct Note: Codable, Sendable, Equatable {
        package var pid: Int32
        package var startedAt: Date
        /// Why no files are taken from the inbox at the moment.
        package var intakePaused: String?
        /// Whether file events arrive, or the inbox is only looked at from time to time.
        package var isWatching: Bool
    }

    private let descriptor: Int32
    private let path: String

    /// Takes the lock.
    ///
    /// - Throws: `busy`, naming the holder's process id.
    package init(_ workspace: Workspace) throws {
        path = workspace.daemonLock.path
        descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw OrchestrationError(system: "open", path, errno) }
        // Someone who only asks whether a daemon runs holds a shared lock for a moment.
        for remaining in stride(from: 10, through: 0, by: -1) {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
            guard errno == EWOULDBLOCK, remaining > 0 else { break }
            usleep(20_000)
        }
        let number = errno
        Glibc.close(descriptor)
        guard number == EWOULDBLOCK else { throw OrchestrationError(system: "lock", path, number) }
        let holder = Self.read(path).map { "process \($0.pid)" } ?? "another process"
        throw OrchestrationError(.busy, "\(holder) is the daemon of this workspace already (it holds \(path))")
    }

    deinit { Glibc.close(descriptor) }

    /// Says who holds the lock and how it fares.
    func write(_ note: Note) throws {
        var data = try ProtocolJSON.encode(note)
        // Padded, so that a shorter note overwrites a longer one in one write.
        let length = 512
        if data.count < length {
            data.append(contentsOf: [UInt8](repeating: UInt8(ascii: " "), count: length - data.count))
        }
        let count = data.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        guard count == data.count else { throw OrchestrationError(system: "write", path, errno) }
        guard ftruncate(descriptor, off_t(data.count)) == 0 else {
            throw OrchestrationError(system: "write", path, errno)
        }
    }

    /// What the daemon of a workspace says of itself; `nil` when none runs.
    package static func holder(of workspace: Workspace) throws -> Note? {
        let path = workspace.daemonLock.path
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw OrchestrationError(system: "open", path, errno)
        }
        defer { Glibc.close(descriptor) }
        // A shared lock, so that two who ask do not take each other for the daemon.
        if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return nil }
        guard errno == EWOULDBLOCK else { throw OrchestrationError(system: "try the lock of", path, errno) }
        return read(path) ?? Note(pid: 0, startedAt: Date(timeIntervalSince1970: 0), isWatching: false)
    }

    /// Makes a running daemon look at the queue and the inbox at once, by a file event.
    ///
    /// Without it, or when nobody watches, the daemon notices by itself within a second.
    package static func poke(_ workspace: Workspace) {
        let path = workspace.inbox.appending(path: ".poke").path
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        unlink(path)
    }

    private static func read(_ path: String) -> Note? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        return try? ProtocolJSON.decode(Note.self, from: data)
    }
}
