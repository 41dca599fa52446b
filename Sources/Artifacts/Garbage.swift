package import Foundation

/// Something that nothing needs any more, and why.
package struct Garbage: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// A version that no alias, pin, rule of retention or job keeps.
        case version
        /// An output of a stage, in `cache/`.
        case cachedOutput = "cached_output"
        /// The large files of an attempt at a stage of an ended job.
        case run
        /// What was collected long ago.
        case trash
        /// Content that no version has any more, in the trash or out of it.
        case blob
    }

    package var kind: Kind
    /// `name:3`, a cache key, or a path; `models/name:3` for a model.
    package var subject: String
    /// What people call it, where a subject is digits: several things of one title are shown as one.
    package var title: String
    package var url: URL
    /// What the disk gets back, in bytes.
    package var bytes: Int64
    /// Why it may go, in a few words.
    package var reason: String

    /// - Parameter title: the subject itself, where there is none.
    package init(kind: Kind, subject: String, title: String? = nil, url: URL, bytes: Int64, reason: String) {
        self.kind = kind
        self.subject = subject
        self.title = title ?? subject
        self.url = url
        self.bytes = bytes
        self.reason = reason
    }
}

/// What jobs that have not ended work with.
package struct StoreLeases: Sendable, Equatable {
    /// Keys of cached outputs.
    package var cacheKeys: Set<String> = []
    /// Names of adapters and models that a job starts from, or will make a version of; all their versions stay.
    package var names: Set<String> = []

    package init() {}
}
