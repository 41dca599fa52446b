import Foundation

/// What the kernel says of the processes a test has started.
enum Processes {
    /// Those whose current folder is `folder` or lies in it.
    static func working(in folder: URL) -> [Int32] {
        let path = folder.resolvingSymlinksInPath().path
        return all().filter { pid in
            guard let place = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd") else {
                return false
            }
            return place == path || place.hasPrefix(path + "/")
        }
    }

    /// The letter of a process's state, such as `T` for one that was stopped; `nil` when it is gone.
    static func state(_ pid: Int32) -> Character? {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let name = stat.lastIndex(of: ")")
        else { return nil }
        return stat[stat.index(after: name)...].first { $0 != " " }
    }

    /// The `lorajobs-inotify` of a daemon.
    static func watcher(of daemon: Int32) -> Int32? {
        all().first { pid in
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let name = stat.lastIndex(of: ")")
            else { return false }
            // After the name: state and parent.
            let facts = stat[stat.index(after: name)...].split(separator: " ")
            return stat.contains("(lorajobs-inotif") && facts.count > 1 && facts[1] == "\(daemon)"
        }
    }

    private static func all() -> [Int32] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { Int32($0) }.filter { $0 != getpid() }
    }
}

/// Ends every process that works in a folder, when it is told to or when this process is no more.
final class Guardian: @unchecked Sendable {
    private let process = Process()
    private let line = Pipe()

    /// What it does: reads until the other end is closed, however that came about, and then sweeps.
    private static let script = """
        trap '' HUP INT TERM
        read -r _
        for round in 1 2 3; do
          find /proc/[0-9]*/cwd -maxdepth 0 -lname "$0/*" -printf '%h\\n' | while read -r entry; do
            kill -9 "${entry#/proc/}"
          done
          sleep 0.05
        done
        grep -o " $0/[^ ]*" /proc/mounts | sort -r | while read -r place; do umount "$place"; done
        rm -rf -- "$0"
        """

    init(of folder: URL) throws {
        process.executableURL = URL(filePath: "/bin/bash")
        process.arguments = ["-c", Self.script, folder.path]
        process.currentDirectoryURL = URL(filePath: "/")
        process.standardInput = line
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
    }

    deinit { end() }

    /// Sweeps, and returns when nothing is left.
    func end() {
        guard process.isRunning else { return }
        try? line.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}
