import Foundation
package import PipelineSpec

/// What the daemon may give to jobs.
package struct Capacity: Sendable, Equatable {
    package var threads: Int
    /// Bytes; `nil` is without a limit.
    package var memoryBytes: Int64?

    package init(threads: Int, memoryBytes: Int64?) {
        self.threads = threads
        self.memoryBytes = memoryBytes
    }

    /// What the settings say; else all of this machine's cores, and nine tenths of the memory this process may use.
    ///
    /// Manifests ask for two threads unless they say otherwise, so there are always two.
    package init(_ settings: WorkspaceSettings) {
        threads = settings.threads ?? max(2, ProcessInfo.processInfo.activeProcessorCount)
        memoryBytes = settings.memoryBytes.map { Int64($0) } ?? Self.memoryLimit().map { $0 / 10 * 9 }
    }

    /// Why a manifest can never run here, with the figures and a way out; empty when it can.
    ///
    /// - Parameters:
    ///   - memoryBytes: What is known of its need; `run.memory` wins.
    ///   - change: What to change in the manifest so that its estimate is at most so many bytes, in words.
    package func findings(
        for manifest: JobManifest, memoryBytes estimate: Int64?, change: (Int64) -> String? = { _ in nil }
    ) -> [Finding] {
        var findings: [Finding] = []
        if manifest.run.threads > threads {
            findings.append(
                Finding(
                    .doesNotFit, pointer: "/run/threads",
                    "run.threads: \(manifest.run.threads) threads are wanted, and jobs may use \(threads) here",
                    hint: "write run: {threads: \(threads)} or less"))
        }
        let written = manifest.run.memoryBytes.map { Int64($0) }
        if let limit = memoryBytes, let need = written ?? estimate, need > limit {
            let source = written == nil ? "is the estimate" : "is wanted"
            let wayOut =
                written == nil
                ? (change(limit) ?? "lower train.micro_batch, data.max_length or train.batch_tokens")
                    + "; if the estimate is wrong, write run: {memory: \(Self.text(limit))}"
                : "write run: {memory: \(Self.text(limit))} or less, or auto for the estimate"
            findings.append(
                Finding(
                    .doesNotFit, pointer: "/run/memory",
                    "run.memory: \(Self.text(need)) \(source), and jobs may use \(Self.text(limit)) here",
                    hint: wayOut))
        }
        return findings
    }

    /// Bytes as `12.4GiB`, rounded down, so that the text fits where the number does.
    package static func text(_ bytes: Int64) -> String {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] where bytes >= 1 << shift {
            let tenths = bytes / ((1 << shift) / 10)
            return tenths % 10 == 0 ? "\(tenths / 10)\(unit)" : "\(tenths / 10).\(tenths % 10)\(unit)"
        }
        return "\(bytes)B"
    }

    /// The memory of the machine, or what the control group leaves of it; `nil` when neither can be read.
    static func memoryLimit(
        meminfo: String = "/proc/meminfo", group: String = "/proc/self/cgroup", groups: String = "/sys/fs/cgroup"
    ) -> Int64? {
        func text(_ path: String) -> String? {
            FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
        }
        let total = text(meminfo)?.firstMatch(of: #/MemTotal:\s+(\d+) kB/#).flatMap { Int64($0.1) }.map { $0 << 10 }
        var limits = [total].compactMap { $0 }
        // Version 2: `0::/a/b`, and each folder above may set a limit. Version 1: `4:memory:/a`.
        for line in text(group)?.split(separator: "\n") ?? [] {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let isUnified = parts[1].isEmpty
            guard isUnified || parts[1].split(separator: ",").contains("memory") else { continue }
            var folder = URL(filePath: groups + (isUnified ? "" : "/memory") + parts[2])
            let file = isUnified ? "memory.max" : "memory.limit_in_bytes"
            while folder.path.hasPrefix(groups) {
                let limit = text(folder.appending(path: file).path)
                if let limit = limit.flatMap({ Int64($0.trimmingCharacters(in: .whitespacesAndNewlines)) }), limit > 0 {
                    limits.append(limit)
                }
                if folder.path == groups || folder.path == "/" { break }
                folder.deleteLastPathComponent()
            }
        }
        return limits.min()
    }
}

extension Finding.Code {
    /// More threads or memory than jobs may ever use here.
    package static let doesNotFit = Self(rawValue: "does_not_fit")
}
