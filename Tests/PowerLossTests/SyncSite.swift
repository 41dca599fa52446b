import Foundation

/// A place where programs sync, told by what is synced: names that differ from run to run are left out.
struct SyncSite: Hashable, Sendable, CustomStringConvertible, Comparable {
    let description: String

    /// - Returns: `nil` when the operation is no sync.
    init?(_ operation: Operation, below root: URL) {
        guard operation.kind == .sync || operation.kind == .syncAll else { return nil }
        var path = operation.text.hasPrefix(root.path) ? String(operation.text.dropFirst(root.path.count)) : "?"
        path = path.hasPrefix("/work") ? String(path.dropFirst(5)) : "above" + path
        if path.hasPrefix("/") { path.removeFirst() }
        let rules: [(Regex<Substring>, String)] = [
            (/01[0-9A-HJKMNP-TV-Z]{24}/, "ULID"), (/[0-9a-f]{64}/, "DIGEST"),
            (/[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}/, "UUID"), (/\d{4}-\d\d-\d\d/, "DATE"),
            (/\.dat\.nosync[^\/]*/, "FOUNDATION"), (/\.\d+-[0-9a-z]+\.tmp/, ".TMP"), (/step-\d+/, "step-N"),
            (/\.\d+(?=\/)/, ".N"), (/\.\d+$/, ".N"),
        ]
        for (pattern, word) in rules { path = path.replacing(pattern, with: word) }
        let kind = operation.kind == .syncAll ? "everything" : operation.b == 1 ? "folder" : "file"
        description = "\(kind) \(path.isEmpty ? "." : path)"
    }

    static func < (left: SyncSite, right: SyncSite) -> Bool { left.description < right.description }
}
