import Foundation
package import PipelineSpec

extension Digest {
    /// Pins input files as they are at this moment: the path with symlinks resolved, the length, and the digest of so
    /// many bytes.
    ///
    /// What is appended while or after a file is read belongs to the next run.
    ///
    /// - Throws: `notFound` for a missing file, `invalidFolder` for what is no regular file, `inputsChanged` when a
    ///   file is cut short while it is read.
    package static func pin(paths: [String]) throws -> [PinnedFile] {
        try paths.map { path in
            guard let resolved = realpath(path, nil) else { throw ArtifactError.system("read", path, errno) }
            defer { free(resolved) }
            let file = try OpenFile(String(cString: resolved), O_RDONLY | O_NONBLOCK)
            let status = try file.status()
            guard FileTree.isRegular(status) else {
                throw ArtifactError(.invalidFolder, "\(path) is not a regular file, so it cannot be pinned", path: path)
            }
            let length = Int64(status.st_size)
            return PinnedFile(path: file.path, length: length, digest: try sha256(of: file, length: length))
        }
    }

    /// Reads pinned files again and compares.
    ///
    /// Bytes after the pinned length do not matter.
    ///
    /// - Throws: `inputsChanged`, naming the first file that is not what was pinned, and also when it is gone.
    package static func check(_ files: [PinnedFile]) throws {
        for file in files {
            let digest: String
            do {
                digest = try sha256(of: URL(filePath: file.path), length: file.length)
            } catch let error as ArtifactError where error.code == .notFound {
                throw ArtifactError(
                    .inputsChanged,
                    "\(file.path) was pinned by this job and is not there any more; put it back, or "
                        + "submit the job again", path: file.path)
            }
            guard digest == file.digest else {
                throw ArtifactError(
                    .inputsChanged,
                    "\(file.path) was changed within its first \(file.length) bytes after it was pinned (\(file.digest)"
                        + " then, \(digest) now); submit the job again to train on what is there now",
                    path: file.path)
            }
        }
    }
}
