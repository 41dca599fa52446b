import Foundation
import PipelineSpec

/// One line of an artifact's `log.jsonl`: what became of a version, or a move of an alias.
package struct LogEntry: Codable, Sendable, Equatable {
    /// What happened.
    ///
    /// A later program may write more kinds than this one knows.
    package struct Event: RawRepresentable, Hashable, Codable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        package static let published = Event(rawValue: "published")
        package static let aliasMoved = Event(rawValue: "alias")
        /// A gate has let the version not pass; `gate` says what came of it.
        package static let gated = Event(rawValue: "gate")
        /// No gate may promote the version any more; `accepted` takes that back.
        package static let rejected = Event(rawValue: "rejected")
        package static let accepted = Event(rawValue: "accepted")
        /// `gc` keeps the version; `unpinned` takes that back.
        package static let pinned = Event(rawValue: "pinned")
        package static let unpinned = Event(rawValue: "unpinned")
        /// A file of the version was found to be damaged; `mended` takes that back.
        package static let damaged = Event(rawValue: "damaged")
        package static let mended = Event(rawValue: "mended")
        /// The version is removed; its number is never given again.
        package static let removed = Event(rawValue: "removed")
    }

    package var event: Event
    /// ISO 8601, UTC.
    package var time: String
    /// The version that was published, or that the alias points at from now on; `nil` when the alias was removed.
    package var version: Int?
    /// For a published version: its digest, its attempt, and the digest of its `lorajobs.json`.
    package var digest: String?
    package var attempt: String?
    package var record: String?
    /// For an alias: its name, what it pointed at before, and why it was moved.
    package var alias: String?
    package var previous: Int?
    package var reason: String?
    /// For what the queue has committed: the decision's id there and, of a gate's, `passed`, `failed` or `held`.
    package var decision: String?
    package var gate: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case event, time, version, digest, attempt, record, alias, previous, reason, decision, gate
    }
}

/// The history of one artifact, one JSON object a line, only ever appended to.
///
/// A line counts once it ends in a newline: what follows the last newline was cut off by a crash, is not read, and
/// is overwritten by the next line. Its last member, `sum`, is a digest of the bytes before it; lines that older programs
/// wrote have none.
struct VersionLog {
    let url: URL

    /// Every entry, oldest first.
    ///
    /// - Throws: `damaged`, with the line's number: a number given twice would be worse than a pause.
    func entries() throws -> [LogEntry] {
        let (entries, faults) = try read()
        if let fault = faults.first {
            throw ArtifactError(.damaged, "\(fault.message); \(Self.advice)", path: url.path)
        }
        return entries
    }

    /// The entries that can be read, for whoever looks for damage and must not stop at it.
    func readableEntries() throws -> [LogEntry] { try read().entries }

    /// Whether an event's name stands anywhere in the file, which is seen without reading the entries.
    func mentions(_ event: LogEntry.Event) throws -> Bool {
        guard try FileTree.status(url) != nil else { return false }
        return try FileTree.read(url).firstRange(of: Data("\"\(event.rawValue)\"".utf8)) != nil
    }

    /// The lines that are not as they were written, one by one.
    func damage(of name: String) throws -> [Damage] {
        try read().faults.map {
            var damage = Damage(
                problem: $0.isReadable ? .changed : .unreadable, subject: name, path: url.path, message: $0.message,
                advice: Self.advice)
            damage.isOfLog = true
            return damage
        }
    }

    /// A line that is not as it was written.
    private struct Fault {
        var isReadable: Bool
        var message: String
    }

    private static let members = LogEntry.CodingKeys.allCases.map(\.rawValue)

    private static let advice =
        "end the daemon and let it be written anew: lorajobs doctor --repair; until then nothing is published or moved under "
        + "this name"

    private func read() throws -> (entries: [LogEntry], faults: [Fault]) {
        let data: Data
        do {
            data = try FileTree.read(url)
        } catch let error as ArtifactError where error.code == .notFound {
            return ([], [])
        }
        var entries: [LogEntry] = []
        var faults: [Fault] = []
        let decoder = JSONDecoder()
        var line = 0
        for bytes in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            line += 1
            if bytes.isEmpty { continue }
            guard bytes.endIndex < data.endIndex else {
                // Cut off by a crash; but a whole line whose newline has become something else was not.
                if JSONSum.line.isRight(in: bytes.dropLast()) {
                    faults.append(
                        Fault(isReadable: false, message: "\(url.path):\(line) does not end as it was written"))
                }
                break
            }
            do {
                let entry = try decoder.decode(LogEntry.self, from: Data(bytes))
                if JSONSum.line.isRight(in: bytes) || JSONSum.isOlder(bytes, members: Self.members) {
                    entries.append(entry)
                } else {
                    faults.append(Fault(isReadable: true, message: "\(url.path):\(line) is not as it was written"))
                }
            } catch {
                faults.append(
                    Fault(isReadable: false, message: "\(url.path):\(line) is not an entry of the store's log"))
            }
        }
        return (entries, faults)
    }

    /// Puts other entries in the place of all that are there, whole or not at all.
    ///
    /// The caller holds the store's lock.
    func replace(with entries: [LogEntry]) throws {
        let data = try entries.reduce(into: Data()) { $0 += try Self.line($1) }
        do {
            try AtomicFile.write(data, to: url)
        } catch let error as SpecError {
            throw ArtifactError(.io, error.description, path: url.path)
        }
    }

    private static func line(_ entry: LogEntry) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return JSONSum.line.added(to: try encoder.encode(entry)) + Data("\n".utf8)
    }

    /// Adds a line and flushes it.
    ///
    /// The caller holds the store's lock.
    func append(_ entry: LogEntry) throws {
        let line = try Self.line(entry)
        let isNew = try FileTree.status(url) == nil
        let file = try OpenFile(url.path, O_WRONLY | O_CREAT | O_APPEND, mode: 0o644)
        let existing = isNew ? Data() : try FileTree.read(url)
        let complete = Self.completeLength(existing)
        if complete < existing.count { try file.truncate(to: Int64(complete)) }
        do {
            try file.write(line)
            try Failpoint.logWritten.hit()
            try file.sync()
        } catch {
            // Half a line must not stay, or the next would be joined to it; if this fails too, the next append
            // cuts it off.
            try? file.truncate(to: Int64(complete))
            throw error
        }
        if isNew { try OpenFile.syncFolder(url.deletingLastPathComponent()) }
    }

    private static func completeLength(_ data: Data) -> Int {
        data.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    }
}

extension [LogEntry] {
    /// What an alias has pointed at, oldest first.
    func values(of alias: String) -> [Int?] {
        compactMap { $0.event == .aliasMoved && $0.alias == alias ? .some($0.version) : nil }
    }

    /// What was last said of a version, of two events that take each other back.
    private func isSet(_ event: LogEntry.Event, unless other: LogEntry.Event, of version: Int) -> LogEntry? {
        let last = last { $0.version == version && ($0.event == event || $0.event == other) }
        return last?.event == event ? last : nil
    }

    /// The entry by which a version is rejected now.
    package func rejection(of version: Int) -> LogEntry? { isSet(.rejected, unless: .accepted, of: version) }

    /// The entry by which a version is pinned now.
    package func pin(of version: Int) -> LogEntry? { isSet(.pinned, unless: .unpinned, of: version) }

    /// The entry that says that a version was removed.
    package func removal(of version: Int) -> LogEntry? { last { $0.version == version && $0.event == .removed } }

    /// The entry that says that a version is damaged.
    package func damage(of version: Int) -> LogEntry? { isSet(.damaged, unless: .mended, of: version) }

    func publication(of version: Int) -> LogEntry? {
        last { $0.event == .published && $0.version == version }
    }
}
