import Foundation
import Glibc
import PipelineSpec

/// What the kernel says of a process that works in a run directory.
///
/// Nothing here trusts a clock.
enum WorkerProcess {
    /// Identifies this run of the kernel: process ids mean nothing under another.
    static func bootID() throws -> String {
        let path = "/proc/sys/kernel/random/boot_id"
        do {
            return try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            throw OrchestrationError(.io, "cannot read \(path): \(error)")
        }
    }

    /// When a process started, in the kernel's ticks since boot; `nil` when it is not there or only its exit status is.
    ///
    /// With the id it names a process for good: ids are used again.
    static func startTime(_ pid: Int32) -> Int64? {
        // The name in parentheses may hold anything, so fields are counted from the last parenthesis.
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return Int64(fields[19])
    }

    /// Whether the process is the one that was started then, and alive.
    static func isAlive(pid: Int32, startTime start: Int64) -> Bool { startTime(pid) == start }

    /// What a process has used so far.
    struct Usage: Sendable, Equatable {
        var peakRSSBytes: Int64
        var cpuSeconds: Double
    }

    /// What a process has used so far; `nil` when it is not there any more.
    static func usage(_ pid: Int32) -> Usage? {
        guard let status = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int64($0) }),
            let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        return Usage(peakRSSBytes: kilobytes * 1024, cpuSeconds: (user + system) / ticks)
    }

    /// Whether some process holds the lock of a run directory.
    static func isLockHeld(_ directory: RunDirectory) throws -> Bool {
        let path = directory.lock.path
        let descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC)
        if descriptor < 0 {
            if errno == ENOENT { return false }
            throw OrchestrationError(system: "open", path, errno)
        }
        defer { Glibc.close(descriptor) }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return false }
        if errno == EWOULDBLOCK { return true }
        throw OrchestrationError(system: "try the lock of", path, errno)
    }

    /// The leader of a session that was started to work in a run directory: found by its last argument, for the
    /// case that the daemon died between starting it and noting its id.
    static func find(workingIn directory: RunDirectory) -> Int32? {
        let path = Array(directory.url.path.utf8)
        guard let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc") else { return nil }
        for name in names {
            guard let pid = Int32(name), getsid(pid) == pid,
                let bytes = FileManager.default.contents(atPath: "/proc/\(name)/cmdline")
            else { continue }
            let last = bytes.split(separator: 0).last.map(Array.init)
            if last == path && startTime(pid) != nil { return pid }
        }
        return nil
    }

    /// Sends a signal to every process of the session's first group.
    ///
    /// One that is gone is no error.
    static func signalGroup(_ pid: Int32, _ signal: Int32) {
        guard pid > 1 else { return }
        _ = kill(-pid, signal)
    }
}
