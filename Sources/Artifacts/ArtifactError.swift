import Foundation

/// What the store could not do, where, and what to do about it.
package struct ArtifactError: Error, CustomStringConvertible, Equatable {
    /// The kind of failure, for programs.
    ///
    /// New kinds may be added; a `switch` needs a default.
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// The text is no reference to an artifact.
        package static let invalidReference = Code(rawValue: "invalid_reference")
        /// A name that cannot be a folder of the store, or an alias that may not be set.
        package static let invalidName = Code(rawValue: "invalid_name")
        /// The folder to publish is not what the collection holds.
        package static let invalidFolder = Code(rawValue: "invalid_folder")
        /// Nothing of that name was ever published.
        package static let noSuchArtifact = Code(rawValue: "no_such_artifact")
        /// The name exists, the version does not, or not any more.
        package static let noSuchVersion = Code(rawValue: "no_such_version")
        /// The name exists and has no such alias, or no such earlier value of it.
        package static let noSuchAlias = Code(rawValue: "no_such_alias")
        /// Content differs from what was published.
        package static let damaged = Code(rawValue: "damaged")
        /// A version that an alias points at, or that somebody reads, cannot be changed or removed.
        package static let inUse = Code(rawValue: "in_use")
        /// The version was rejected.
        package static let rejected = Code(rawValue: "rejected")
        /// A pinned input is not any more what was pinned.
        package static let inputsChanged = Code(rawValue: "inputs_changed")
        /// A file or folder that should be read is not there.
        package static let notFound = Code(rawValue: "not_found")
        /// The destination of an export is taken.
        package static let destinationExists = Code(rawValue: "destination_exists")
        /// The disk, or the quota, is full.
        package static let noSpace = Code(rawValue: "no_space")
        /// Any other failure of the file system.
        package static let io = Code(rawValue: "io")
    }

    package let code: Code
    package let message: String
    /// The file or folder concerned, where there is one.
    package let path: String?

    package init(_ code: Code, _ message: String, path: String? = nil) {
        self.code = code
        self.message = message
        self.path = path
    }

    package var description: String { message }

    /// The failure of a system call; `number` is its `errno`, `target` what `path` was to be moved or linked to.
    static func system(
        _ action: String, _ path: String, _ number: Int32, to target: String? = nil
    ) -> ArtifactError {
        let reason = String(cString: strerror(number))
        let what = action + " " + path + (target.map { " to " + $0 } ?? "")
        switch number {
        case ENOSPC, EDQUOT:
            return ArtifactError(
                .noSpace, "cannot \(what): \(reason); nothing was lost, free some space and try again",
                path: path)
        case ENOENT:
            return ArtifactError(.notFound, "cannot \(what): it is not there", path: path)
        default:
            return ArtifactError(.io, "cannot \(what): \(reason)", path: path)
        }
    }
}
