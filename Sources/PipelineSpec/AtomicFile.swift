package import Foundation

/// Files that appear whole or not at all, and stay after a power cut.
package enum AtomicFile {
    /// Writes `data` under a temporary name in the same folder, syncs it, renames it to `url`, and syncs the
    /// folder. Whatever stood there is replaced.
    ///
    /// - Parameter isDurable: Whether it stays after a power cut. Without, nothing is synced: for what only a process
    ///   reads that a power cut would end too.
    /// - Throws: ``SpecError`` with the system's error number; nothing is left behind.
    package static func write(_ data: Data, to url: URL, permissions: mode_t = 0o644, isDurable: Bool = true) throws {
        let folder = url.deletingLastPathComponent().path(percentEncoded: false)
        let target = url.path(percentEncoded: false)
        let temporary = folder + (folder.hasSuffix("/") ? "" : "/") + ".\(url.lastPathComponent).\(ULID()).tmp"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, permissions)
        guard descriptor >= 0 else { throw failure("cannot create", temporary) }
        do {
            defer { close(descriptor) }
            try write(data, to: descriptor, path: temporary)
            try Failpoint.fileWritten.hit()
            guard !isDurable || fsync(descriptor) == 0 else { throw failure("cannot sync", temporary) }
            try Failpoint.fileFlushed.hit()
        } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, target) == 0 else {
            let error = failure("cannot rename to", target)
            unlink(temporary)
            throw error
        }
        try Failpoint.fileRenamed.hit()
        if isDurable { try syncFolder(folder) }
    }

    /// Makes the renames, creations and removals in a folder durable.
    package static func syncFolder(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open the folder", path) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync the folder", path) }
    }

    /// Makes everything in a folder durable: the bytes of its files, and the names in it and below.
    package static func syncTree(_ path: String) throws {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: path)
        } catch {
            throw SpecError(.io, "cannot list \(path): \(error.localizedDescription)")
        }
        for name in names {
            let entry = "\(path)/\(name)"
            var status = stat()
            guard lstat(entry, &status) == 0 else { throw failure("cannot examine", entry) }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: try syncTree(entry)
            case S_IFREG:
                let descriptor = open(entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                guard descriptor >= 0 else { throw failure("cannot open", entry) }
                defer { close(descriptor) }
                guard fsync(descriptor) == 0 else { throw failure("cannot sync", entry) }
            default: break
            }
        }
        try syncFolder(path)
    }

    /// Appends `data` with one write call, creating the file if need be. Not synced.
    package static func append(_ data: Data, to url: URL) throws {
        let path = url.path(percentEncoded: false)
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure("cannot open", path) }
        defer { close(descriptor) }
        try write(data, to: descriptor, path: path)
    }

    private static func write(_ data: Data, to descriptor: Int32, path: String) throws {
        try data.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let count = Foundation.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
                if count < 0 {
                    if errno == EINTR { continue }
                    throw failure("cannot write", path)
                }
                offset += count
            }
        }
    }

    private static func failure(_ what: String, _ path: String) -> SpecError {
        let code = errno
        return SpecError(.io, "\(what) \(path): \(String(cString: strerror(code)))", systemError: code)
    }
}
