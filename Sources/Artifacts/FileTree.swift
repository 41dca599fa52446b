import CLinux
import Foundation

/// Folders as the store handles them: listed without following symlinks, linked, sealed and removed whole.
enum FileTree {
    /// What `lstat` says, or `nil` when nothing is there.
    static func status(_ url: URL) throws -> stat? {
        var status = stat()
        if lstat(url.path, &status) == 0 { return status }
        if errno == ENOENT || errno == ENOTDIR { return nil }
        throw ArtifactError.system("examine", url.path, errno)
    }

    /// Which file a path leads to; `nil` when nothing is there.
    static func identity(_ url: URL) throws -> FileInode? { try status(url).map { FileInode($0) } }

    static func isFolder(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFDIR }
    static func isRegular(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFREG }
    static func isSymlink(_ status: stat) -> Bool { status.st_mode & S_IFMT == S_IFLNK }

    static func isFolder(at url: URL) throws -> Bool {
        guard let status = try status(url) else { return false }
        return isFolder(status)
    }

    /// The names in a folder, sorted by their bytes; empty when there is no such folder.
    static func names(in url: URL) throws -> [String] {
        guard let folder = opendir(url.path) else {
            if errno == ENOENT { return [] }
            throw ArtifactError.system("list", url.path, errno)
        }
        defer { closedir(folder) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(folder) else {
                guard errno == 0 else { throw ArtifactError.system("list", url.path, errno) }
                break
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted(by: Self.precedes)
    }

    /// The order of `LC_ALL=C sort`, which every digest over a folder is defined by.
    static func precedes(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8)
    }

    /// Every regular file below a folder, as a relative path, sorted by bytes.
    ///
    /// - Throws: `invalidFolder` for anything that is neither a file nor a folder: a symlink would make the
    ///   content depend on something outside.
    static func files(below root: URL) throws -> [String] {
        guard try isFolder(at: root) else {
            throw ArtifactError(.notFound, "there is no folder \(root.path)", path: root.path)
        }
        var found: [String] = []
        func visit(_ folder: URL, _ prefix: String) throws {
            for name in try names(in: folder) {
                let url = folder.appending(path: name)
                guard let status = try status(url) else { continue }
                if isFolder(status) {
                    try visit(url, prefix + name + "/")
                } else if isRegular(status) {
                    found.append(prefix + name)
                } else {
                    throw ArtifactError(
                        .invalidFolder,
                        "\(url.path) is neither a file nor a folder; put the file itself in its place", path: url.path)
                }
            }
        }
        try visit(root, "")
        return found.sorted(by: precedes)
    }

    /// How many bytes the disk gets back when a file or folder is removed: those of files that have no more than so many
    /// names.
    static func bytes(below url: URL, sharedWith links: UInt) throws -> Int64 {
        guard let status = try status(url) else { return 0 }
        guard isFolder(status) else {
            return isRegular(status) && UInt(status.st_nlink) <= links ? Int64(status.st_size) : 0
        }
        return try names(in: url).reduce(0) { try $0 + bytes(below: url.appending(path: $1), sharedWith: links) }
    }

    /// Every folder below `root`, deepest first, `root` last.
    static func folders(below root: URL) throws -> [URL] {
        var found: [URL] = []
        for name in try names(in: root) {
            let url = root.appending(path: name)
            if try isFolder(at: url) { found += try folders(below: url) }
        }
        return found + [root]
    }

    /// Makes a folder and those above it; what is new survives a power failure.
    ///
    /// - Parameter isDurable: Without, the folder itself may be lost: for folders that nobody needs afterwards, or whose
    ///   parents are flushed when all is in place.
    static func makeFolder(_ url: URL, isDurable: Bool = true) throws {
        if mkdir(url.path, 0o755) == 0 {
            if isDurable { try OpenFile.syncFolder(url.deletingLastPathComponent()) }
            return
        }
        switch errno {
        case EEXIST: return
        case ENOENT:
            try makeFolder(url.deletingLastPathComponent(), isDurable: isDurable)
            try makeFolder(url, isDurable: isDurable)
        default: throw ArtifactError.system("make the folder", url.path, errno)
        }
    }

    /// `mode` without the rights that the process gives nobody: what `chmod` does not look at by itself.
    static func allowed(_ mode: mode_t) -> mode_t {
        // There is no call that only reads the mask, and to set it would be seen by other threads.
        let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status?.split(separator: "\n").first { $0.hasPrefix("Umask:") }
        let mask = line.flatMap { mode_t($0.dropFirst(6).trimmingCharacters(in: .whitespaces), radix: 8) }
        return mode & ~(mask ?? 0o022)
    }

    static func setMode(_ mode: mode_t, _ url: URL) throws {
        guard chmod(url.path, mode) == 0 else {
            throw ArtifactError.system("change the permissions of", url.path, errno)
        }
    }

    /// Takes the right to write from a folder and those in it.
    static func seal(_ root: URL) throws {
        let mode = allowed(0o555)
        for folder in try folders(below: root) { try setMode(mode, folder) }
    }

    /// Flushes a folder and those in it.
    static func syncFolders(_ root: URL) throws {
        for folder in try folders(below: root) { try OpenFile.syncFolder(folder) }
    }

    /// Removes a file, a symlink or a whole folder, sealed or not.
    ///
    /// Files keep their mode, since they may be linked elsewhere.
    static func remove(_ url: URL) throws {
        guard let status = try status(url) else { return }
        guard isFolder(status) else {
            guard unlink(url.path) == 0 || errno == ENOENT else {
                throw ArtifactError.system("remove", url.path, errno)
            }
            return
        }
        if status.st_mode & S_IRWXU != S_IRWXU { try setMode(0o755, url) }
        for name in try names(in: url) { try remove(url.appending(path: name)) }
        guard rmdir(url.path) == 0 || errno == ENOENT else { throw ArtifactError.system("remove", url.path, errno) }
    }

    /// Makes `new` a second name of the file `old`.
    ///
    /// False when `new` exists.
    static func link(_ old: URL, to new: URL) throws -> Bool {
        if Foundation.link(old.path, new.path) == 0 { return true }
        if errno == EEXIST { return false }
        throw ArtifactError.system("link", old.path, errno, to: new.path)
    }

    /// Makes `new` hold what the file `old` holds, sharing its bytes where the file system can.
    static func linkOrCopy(_ old: URL, to new: URL) throws {
        if Foundation.link(old.path, new.path) == 0 { return }
        switch errno {
        case EXDEV, EMLINK, EPERM, ENOTSUP: _ = try Digest.copy(old, to: new, mode: 0o444)
        default: throw ArtifactError.system("link", old.path, errno, to: new.path)
        }
    }

    /// Moves a folder to a path that must be free.
    ///
    /// False when it is taken.
    static func renameWithoutReplacing(_ old: URL, to new: URL) throws -> Bool {
        if clinux_rename_noreplace(old.path, new.path) == 0 { return true }
        var number = errno
        if number == EINVAL || number == ENOSYS {
            // File systems without the flag: a plain rename of a folder fails on one that holds anything.
            if Foundation.rename(old.path, new.path) == 0 { return true }
            number = errno
        }
        if number == EEXIST || number == ENOTEMPTY { return false }
        throw ArtifactError.system("move", old.path, number, to: new.path)
    }

    /// Moves a file, symlink or folder, replacing a file or symlink of that path.
    static func rename(_ old: URL, to new: URL) throws {
        guard Foundation.rename(old.path, new.path) == 0 else {
            throw ArtifactError.system("move", old.path, errno, to: new.path)
        }
    }

    /// What a symlink says, or `nil` when `url` is none.
    static func symlinkTarget(_ url: URL) -> String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBytes {
            readlink(url.path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// Writes a new file and flushes it.
    static func write(_ data: Data, to url: URL, mode: mode_t) throws {
        let file = try OpenFile(url.path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600, action: "make")
        try file.write(data)
        guard fchmod(file.descriptor, mode) == 0 else {
            throw ArtifactError.system("change the permissions of", url.path, errno)
        }
        try file.sync()
    }

    static func read(_ url: URL) throws -> Data {
        let file = try OpenFile(url.path, O_RDONLY)
        var data = Data()
        try withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
            while true {
                let count = try file.read(into: buffer)
                if count == 0 { break }
                data.append(contentsOf: buffer[..<count])
            }
        }
        return data
    }
}
