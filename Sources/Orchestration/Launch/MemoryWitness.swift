import Foundation
import Glibc

/// Watches what the kernel counts of processes it ended because memory ran out.
///
/// A process that is ended so cannot say it, and its exit status is that of any `kill -9`. Two counters tell: that of
/// the control group it belongs to, and that of the machine. Both are compared with what they were shortly before.
struct MemoryWitness: Sendable {
    private let proc: String
    private let groups: String
    /// The machine's count, as at the last two looks: it moves a moment before the process is gone.
    private var machine: (older: Int64, newer: Int64)
    /// Of the control group, when it was first seen.
    private var group: (path: String, kills: Int64)?
    /// How far the counters have moved.
    private(set) var evidence: String?
    /// The most memory that the process may have, in bytes: the least limit of its control groups, or the machine's.
    private(set) var limit: Int64?

    /// - Parameters:
    ///   - proc: where procfs is mounted.
    ///   - groups: where control groups of version 2 are.
    init(proc: String = "/proc", groups: String? = nil) {
        self.proc = proc
        let unified = "/sys/fs/cgroup/unified"
        self.groups = groups ?? (access("\(unified)/cgroup.procs", F_OK) == 0 ? unified : "/sys/fs/cgroup")
        let count = Self.count("oom_kill", in: "\(proc)/vmstat") ?? 0
        machine = (count, count)
        limit = Self.count("MemTotal:", in: "\(proc)/meminfo").map { $0 * 1024 }
    }

    /// Reads the counters; while the process lives, or, for the last time, before its exit status is fetched.
    mutating func look(at pid: Int32, isLast: Bool = false) {
        let count = Self.count("oom_kill", in: "\(proc)/vmstat") ?? 0
        if let path = path(of: pid) {
            let kills = Self.count("oom_kill", in: "\(groups)\(path)/memory.events")
            if let kills, group?.path != path {
                group = (path, kills)
                limit = Self.least(limit, limits(path))
            }
            if isLast, let kills, let before = group, kills > before.kills {
                evidence = "the kernel ended it because the control group \(path) ran out of memory"
            }
        }
        if isLast, evidence == nil, count > machine.older {
            evidence = "the kernel ended it because the machine ran out of memory"
        }
        machine = (machine.newer, count)
    }

    /// The process's control group, as a path below the mount.
    private func path(of pid: Int32) -> String? {
        guard let text = try? String(contentsOfFile: "\(proc)/\(pid)/cgroup", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("0::") })
        else { return nil }
        let path = line.dropFirst(3).replacing(" (deleted)", with: "")
        return path == "/" ? "" : String(path)
    }

    /// Of a group and all it lies in.
    private func limits(_ path: String) -> [Int64] {
        var path = path
        var found: [Int64] = []
        while !path.isEmpty {
            let text = try? String(contentsOfFile: "\(groups)\(path)/memory.max", encoding: .utf8)
            if let text, let value = Int64(text.trimmingCharacters(in: .whitespacesAndNewlines)) { found.append(value) }
            path = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
        }
        return found
    }

    private static func least(_ limit: Int64?, _ others: [Int64]) -> Int64? {
        (others + (limit.map { [$0] } ?? [])).min()
    }

    /// The number after a word at the beginning of a line.
    private static func count(_ word: String, in file: String) -> Int64? {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            if fields.count > 1, fields[0] == word { return Int64(fields[1]) }
        }
        return nil
    }
}
