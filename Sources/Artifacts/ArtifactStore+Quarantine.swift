package import Foundation
import PipelineSpec

extension ArtifactStore {
    /// Puts rotten blobs away, and writes into the logs which versions are damaged, and which are sound again.
    ///
    /// The folder of a damaged version stays where it is, since a serving tool may have it open; no alias can be moved
    /// to it any more, and it cannot be exported.
    ///
    /// - Parameter damage: What ``verify(_:in:)`` has found in the whole store.
    /// - Returns: Where each rotten blob lies now.
    @discardableResult
    package func quarantine(_ damage: [Damage], now: Date = Date()) throws -> [URL] {
        try exclusively {
            var moved: [URL] = []
            for entry in damage where entry.problem == .changed {
                let blob = URL(filePath: entry.path)
                guard blob.deletingLastPathComponent().path == blobs.path, try FileTree.status(blob) != nil else {
                    continue
                }
                // Another writer may have put good bytes in its place meanwhile.
                if try "sha256:" + blob.lastPathComponent == Digest.sha256(of: blob) { continue }
                let home = root.appending(path: "quarantine", directoryHint: .isDirectory)
                try FileTree.makeFolder(home)
                let target = home.appending(path: "\(blob.lastPathComponent)-\(ULID())")
                try FileTree.rename(blob, to: target)
                try OpenFile.syncFolder(home)
                try OpenFile.syncFolder(blobs)
                moved.append(target)
            }
            for collection in ArtifactCollection.allCases {
                for name in try names(in: collection) { try noteDamage(of: name, in: collection, damage, now) }
            }
            return moved
        }
    }

    private func noteDamage(
        of name: String, in collection: ArtifactCollection, _ damage: [Damage], _ now: Date
    ) throws {
        let log = versionLog(of: name, in: collection)
        let entries = try log.entries()
        for number in try numbers(of: name, in: collection) where entries.publication(of: number) != nil {
            let home = versionFolder(number, of: name, in: collection).path
            let own = damage.first { $0.subject == "\(name):\(number)" && $0.path.hasPrefix(home) }
            let isKnown = entries.damage(of: number) != nil
            if let own, !isKnown {
                try log.append(
                    LogEntry(event: .damaged, time: Timestamp.text(now), version: number, reason: own.message))
            } else if own == nil, isKnown {
                try log.append(
                    LogEntry(
                        event: .mended, time: Timestamp.text(now), version: number,
                        reason: "every file is as it was published"))
            }
        }
    }
}
