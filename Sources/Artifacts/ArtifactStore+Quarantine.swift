package import Foundation
import PipelineSpec

extension ArtifactStore {
    /// Of what ``verify(_:in:)`` has found, the files of versions whose content lies whole among the blobs: another version
    /// was published with it since.
    package func mendable(_ damage: [Damage]) throws -> [Damage] {
        var sound: [String: Bool] = [:]
        return try damage.filter { entry in
            guard let digest = entry.expected, !entry.isCachedOutput, entry.problem != .unexpected else { return false }
            if let known = sound[digest] { return known }
            let blob = blob(digest)
            let isSound =
                try FileTree.status(blob).map(FileTree.isRegular) ?? false && Digest.sha256(of: blob) == digest
            sound[digest] = isSound
            return isSound
        }
    }

    /// Puts whole files in the place of damaged ones, as far as there are any.
    ///
    /// - Returns: What is mended.
    @discardableResult
    package func mend(_ damage: [Damage]) throws -> [Damage] {
        let wanted = try mendable(damage)
        guard !wanted.isEmpty else { return [] }
        let scratch = try ScratchFolder(in: temporary)
        return try exclusively {
            var mended: [Damage] = []
            for (index, entry) in wanted.enumerated() {
                guard let digest = entry.expected else { continue }
                let target = URL(filePath: entry.path)
                let folder = target.deletingLastPathComponent()
                // It may have been collected meanwhile, or be no file any more.
                guard try FileTree.isFolder(at: folder), try !FileTree.isFolder(at: target) else { continue }
                let whole = scratch.url.appending(path: "whole-\(index)")
                guard try FileTree.status(blob(digest)) != nil, try FileTree.link(blob(digest), to: whole) else {
                    continue
                }
                try FileTree.setMode(FileTree.allowed(0o755), folder)
                try FileTree.rename(whole, to: target)
                try OpenFile.syncFolder(folder)
                try FileTree.setMode(FileTree.allowed(0o555), folder)
                mended.append(entry)
            }
            return mended
        }
    }

    /// Why versions are known to be damaged, by their numbers, as ``quarantine(_:now:)`` has written down.
    package func knownDamage(
        of name: String, in collection: ArtifactCollection = .adapters
    ) throws -> [Int: String] {
        let log = versionLog(of: name, in: collection)
        // Most logs have no such line, and `status` asks often.
        guard try log.mentions(.damaged) else { return [:] }
        let entries = try log.readableEntries()
        let numbers = Set(entries.filter { $0.event == .damaged }.compactMap(\.version))
        return Dictionary(
            uniqueKeysWithValues: numbers.compactMap { number in
                entries.damage(of: number).map { (number, $0.reason ?? "it was found damaged") }
            })
    }

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
        // A log that is to be written anew is not added to.
        guard try log.damage(of: name).isEmpty else { return }
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
