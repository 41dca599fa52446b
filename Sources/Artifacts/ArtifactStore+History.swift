package import Foundation
import PipelineSpec

/// Where the log of an artifact and the folder beside it do not tell the same story.
package struct HistoryFault: Sendable, Equatable, CustomStringConvertible {
    /// What is wrong.
    package enum Kind: String, Sendable {
        /// A number below the newest was never given.
        case gap
        /// A number was given twice, or an attempt has two versions.
        case repeated
        /// A version that a writer showed and did not log; the next writer does.
        case unlogged
        /// A version that was published and never removed is gone.
        case lost
        /// A version that is removed in the log and still there; `gc` and `doctor --repair` take it away.
        case unremoved
        /// An alias does not point where its last log entry says; the next writer logs where it points.
        case aliasMoved
        /// An alias points at a version that is not there.
        case aliasDangling
        /// Lines of the log are not as they were written, and nobody publishes under the name; `doctor --repair` makes them
        /// again.
        case unreadable
    }

    package let kind: Kind
    package let collection: ArtifactCollection
    /// `name:3` or `name@alias`.
    package let subject: String
    /// A sentence that names the file.
    package let description: String
    /// Whether the store's next write of this name puts it right.
    package var isMendedByNextWrite: Bool { [.unlogged, .unremoved, .aliasMoved].contains(kind) }
    /// Whether ``ArtifactStore/mendHistory(knowing:now:)`` puts it right.
    package var isMendable: Bool { isMendedByNextWrite || kind == .unreadable }
}

extension ArtifactStore {
    /// Compares folders, aliases and logs of every name; reads no weights, for which see ``verify(_:in:)``.
    ///
    /// No other writer is in the middle of anything meanwhile.
    package func historyFaults() throws -> [HistoryFault] {
        // A store that this user may only read is not being written by this user either.
        guard access(root.path, W_OK) == 0 else { return try faults() }
        return try exclusively { try faults() }
    }

    /// Writes into the logs what is on disk and not in them, as the next writer of each name would.
    ///
    /// The folder is the truth: no alias moves, no version appears or goes. A log with lines that cannot be read is written
    /// anew, and kept as it was in `quarantine`.
    ///
    /// - Parameter known: What else is known of the history, from which such lines are made again.
    package func mendHistory(knowing known: [KnownEvent] = [], now: Date = Date()) throws {
        try exclusively {
            for collection in ArtifactCollection.allCases {
                let names = try FileTree.names(in: root.appending(path: collection.rawValue))
                for name in names where ArtifactNaming.isArtifact(name) {
                    try rewriteUnreadable(
                        name, in: collection, known.filter { $0.name == name && $0.collection == collection })
                    try completeInterrupted(name, in: collection)
                    try finishRemovals(of: name, in: collection, now: now)
                    try logUnloggedMoves(of: name, in: collection, except: nil, now: now)
                }
            }
        }
    }

    private func faults() throws -> [HistoryFault] {
        try ArtifactCollection.allCases.flatMap { collection in
            try FileTree.names(in: root.appending(path: collection.rawValue)).filter(ArtifactNaming.isArtifact)
                .flatMap { try faults(of: $0, in: collection) }
        }
    }

    private func faults(of name: String, in collection: ArtifactCollection) throws -> [HistoryFault] {
        let log = versionLog(of: name, in: collection)
        let damage = try log.damage(of: name)
        // What else is said of a log of which some is missing says little.
        if let first = damage.first {
            let more = damage.count > 1 ? ", and \(damage.count - 1) more of its lines" : ""
            return [
                HistoryFault(
                    kind: .unreadable, collection: collection, subject: name, description: first.message + more)
            ]
        }
        let entries = try log.entries()
        let published = entries.filter { $0.event == .published }
        let numbers = try numbers(of: name, in: collection)
        let known = Set(published.compactMap(\.version)).union(numbers)
        var found: [HistoryFault] = []
        func report(_ kind: HistoryFault.Kind, _ subject: String, _ text: String) {
            found.append(HistoryFault(kind: kind, collection: collection, subject: subject, description: text))
        }
        for missing in 1..<max(1, known.max() ?? 1) where !known.contains(missing) {
            report(.gap, "\(name):\(missing)", "\(log.url.path) knows no version \(missing) below \(known.max() ?? 0)")
        }
        for (number, same) in Dictionary(grouping: published, by: \.version) where same.count > 1 {
            report(
                .repeated, "\(name):\(number ?? 0)", "\(log.url.path) has version \(number ?? 0) \(same.count) times")
        }
        for (attempt, same) in Dictionary(grouping: published, by: \.attempt) where same.count > 1 && attempt != nil {
            let versions = same.compactMap(\.version).map(String.init).joined(separator: " and ")
            report(.repeated, name, "\(log.url.path): versions \(versions) are of one attempt, \(attempt ?? "")")
        }
        for number in numbers where entries.publication(of: number) == nil {
            // A folder that no writer of the store made is not the store's.
            guard try readableRecord(number, of: name, in: collection) != nil else { continue }
            report(.unlogged, "\(name):\(number)", "version \(number) is not in \(log.url.path)")
        }
        for number in Set(published.compactMap(\.version)).union(numbers).sorted() {
            let (isThere, isRemoved) = (numbers.contains(number), entries.removal(of: number) != nil)
            if isThere && isRemoved {
                report(.unremoved, "\(name):\(number)", "version \(number) is there, and \(log.url.path) says removed")
            } else if !isThere && !isRemoved {
                report(.lost, "\(name):\(number)", "version \(number) is gone, and nothing has removed it")
            }
        }
        let aliases = try aliases(of: name, in: collection)
        for alias in Set(aliases.keys).union(entries.compactMap(\.alias)).sorted() {
            let (current, logged) = (aliases[alias], entries.values(of: alias).last ?? nil)
            let words = { (number: Int?) in number.map { "version \($0)" } ?? "nothing" }
            if current != logged {
                report(
                    .aliasMoved, "\(name)@\(alias)",
                    "\(alias) of \(name) points at \(words(current)), and \(log.url.path) says \(words(logged))")
            }
            if let current, !numbers.contains(current) {
                report(
                    .aliasDangling, "\(name)@\(alias)", "\(alias) of \(name) points at \(words(current)), which is gone"
                )
            }
        }
        return found
    }
}

/// Something that others than the store remember of a name's history.
package struct KnownEvent: Sendable {
    package var collection: ArtifactCollection
    package var name: String
    /// As it stood, or should have stood, in the log.
    package var entry: LogEntry

    /// That an attempt has published a version.
    package init(_ version: StageCache.PublishedVersion, attempt: String, at time: Date) {
        collection = version.collection
        name = version.name
        entry = LogEntry(
            event: .published, time: Timestamp.text(time), version: version.version, digest: version.digest,
            attempt: attempt)
    }

    /// That the store has followed what a gate, or a person, had decided.
    package init(_ decision: GateDecision) {
        collection = decision.collection
        name = decision.name
        entry = LogEntry(
            event: decision.moves ? .aliasMoved : .gated, time: Timestamp.text(decision.time),
            version: decision.version, alias: decision.alias, previous: decision.moves ? decision.from : nil,
            reason: decision.reason, decision: decision.id,
            gate: decision.cause == .gate ? decision.outcome : nil)
    }
}

extension ArtifactStore {
    /// Writes a log anew that has lines nobody can read, from the others and from what is known beside them.
    ///
    /// The caller holds the lock.
    private func rewriteUnreadable(
        _ name: String, in collection: ArtifactCollection, _ known: [KnownEvent]
    ) throws {
        let log = versionLog(of: name, in: collection)
        if try log.damage(of: name).isEmpty { return }
        var entries = try log.readableEntries()
        let home = root.appending(path: "quarantine", directoryHint: .isDirectory)
        try FileTree.makeFolder(home)
        do {
            try AtomicFile.write(FileTree.read(log.url), to: home.appending(path: "\(name)-log.jsonl-\(ULID())"))
        } catch let error as SpecError {
            throw ArtifactError(.io, error.description, path: home.path)
        }
        var missing: [LogEntry] = []
        for number in try numbers(of: name, in: collection) where entries.publication(of: number) == nil {
            if let record = try readableRecord(number, of: name, in: collection) {
                missing.append(try publication(record, number, of: name, in: collection))
            }
        }
        // The record of a version says more of it than anybody else.
        for entry in missing + known.map(\.entry) {
            let isKnown = entries.contains { other in
                if let id = entry.decision { return other.decision == id }
                return other.event == entry.event && other.version == entry.version
            }
            if isKnown { continue }
            let place = entries.lastIndex { $0.time <= entry.time }.map { $0 + 1 } ?? 0
            entries.insert(entry, at: place)
        }
        try log.replace(with: entries)
    }
}
