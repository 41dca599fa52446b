import Foundation
import Glibc
import PipelineSpec

/// A place where programs sync, told by what is synced: names that differ from run to run are left out.
///
/// The files of a stage's output are one site. Their writers sync them for reasons of their own, and then the whole
/// output is synced before the result: what counts is that one of the two is done.
struct SyncSite: Hashable, Sendable, CustomStringConvertible, Comparable {
    let description: String

    /// - Returns: `nil` when the operation is no sync, or that of a producer, who is not ours.
    init?(_ operation: Operation, in run: RecordedRun) {
        guard operation.kind == .sync || operation.kind == .syncAll, operation.process != UInt32(getpid()) else {
            return nil
        }
        let kind = operation.kind == .syncAll ? "everything" : operation.b == 1 ? "folder" : "file"
        var path = operation.text
        let work = run.workspace.root.path(percentEncoded: false)
        if path.hasPrefix(work) { path = String(path.dropFirst(work.count)) }
        if path + "/" == work { path = "." }
        if path == run.disk.path { path = ".." }
        let rules: [(Regex<Substring>, String)] = [
            (/01[0-9A-HJKMNP-TV-Z]{24}/, "ULID"), (/[0-9a-f]{64}/, "DIGEST"),
            (/[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}/, "UUID"), (/\d{4}-\d\d-\d\d/, "DATE"),
            (/\.\d+-[0-9a-z]+\.tmp/, ".RANDOM.tmp"), (/step-\d+/, "step-N"), (/ULID__[a-z]+/, "ULID__name"),
            (/\.\d+(?=\/)/, ".N"), (/\.\d+$/, ".N"),
        ]
        for (pattern, word) in rules { path = path.replacing(pattern, with: word) }
        if kind == "file", let match = path.firstMatch(of: /^(Jobs\/runs\/ULID\/\w+\.N\/out\/)/) {
            path = match.1 + "*"
        }
        description = "\(kind) \(path)"
    }

    static func < (left: SyncSite, right: SyncSite) -> Bool { left.description < right.description }
}
