import Foundation

/// One thing in the store, or in the cache, that is not as it was published.
package struct Damage: Sendable, Equatable, CustomStringConvertible {
    /// What is wrong with it.
    package enum Problem: String, Sendable {
        /// A file that was published is not there.
        case missing
        /// The content of a file, or a line of a log, differs.
        case changed
        /// A file is there that was not published.
        case unexpected
        /// `lorajobs.json`, a cache entry's description or a line of a log cannot be read.
        case unreadable
        /// An alias points at a version that does not exist.
        case dangling
    }

    package let problem: Problem
    /// `name:42`, a digest for a blob, a cache key, or the name whose log it is.
    package let subject: String
    /// The file, as an absolute path.
    package let path: String
    /// A sentence that names the file.
    package let message: String
    /// What a person can do about it.
    package let advice: String
    /// Whether it is an output of a stage, which may always be made again.
    package var isCachedOutput = false
    /// Whether it is a line of an artifact's log.
    package var isOfLog = false
    /// The digest that the file of a version should have.
    let expected: String?
    /// What the file is on disk: versions share files.
    let file: FileInode?

    init(
        problem: Problem, subject: String, path: String, message: String, advice: String? = nil,
        expected: String? = nil, file: FileInode? = nil
    ) {
        self.problem = problem
        self.subject = subject
        self.path = path
        self.message = message
        self.advice =
            advice
            ?? "restore the file from a backup, or let a job make the same again, and then run lorajobs adapters verify"
        self.expected = expected
        self.file = file
    }

    package var description: String { message }
}

/// A file on disk, whatever its names.
struct FileInode: Hashable, Sendable {
    private let device: UInt
    private let number: UInt

    init(_ status: stat) {
        device = UInt(status.st_dev)
        number = UInt(status.st_ino)
    }
}

extension [Damage] {
    /// What there is to say to people: a line each, and one for a file that versions share, with what to do.
    package var report: [String] {
        var groups: [(first: Damage, all: [Damage])] = []
        var places: [FileInode: Int] = [:]
        for damage in self {
            if let file = damage.file, damage.problem == .changed {
                if let place = places[file] {
                    groups[place].all.append(damage)
                    continue
                }
                places[file] = groups.count
            }
            groups.append((damage, [damage]))
        }
        return groups.map { first, all in
            let versions = all.filter { $0.expected != nil }.map(\.subject)
            guard versions.count > 1 else { return "\(first.subject): \(first.message); do: \(first.advice)" }
            let name = URL(filePath: first.path).lastPathComponent
            let named = versions.prefix(12).joined(separator: ", ")
            let others = versions.count > 12 ? " and \(versions.count - 12) more" : ""
            return
                "\(name) is damaged in \(versions.count) versions (one shared file): \(named)\(others); do: \(first.advice)"
        }
    }
}
