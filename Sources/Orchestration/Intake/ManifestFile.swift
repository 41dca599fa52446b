import Foundation
import Glibc
import PipelineSpec

/// A file from outside, opened without trusting it: no symlink is followed, nothing waits, nothing large is read.
struct ManifestFile {
    enum Content {
        case bytes(Data)
        /// It is not for reading.
        case refused(Finding)
    }

    var content: Content
    var size: Int64
    var ownerID: UInt32

    var bytes: Data {
        switch content {
        case .bytes(let data): data
        case .refused: Data()
        }
    }

    /// Reads a file once.
    ///
    /// - Throws: `changed` when it was written to meanwhile; look again later.
    static func read(_ path: String, limit: Int) throws -> ManifestFile {
        func refuse(_ code: Finding.Code, _ message: String, _ hint: String, _ status: stat) -> ManifestFile {
            ManifestFile(
                content: .refused(Finding(code, message, hint: hint)), size: Int64(status.st_size),
                ownerID: status.st_uid)
        }
        var status = stat()
        guard lstat(path, &status) == 0 else { throw OrchestrationError(system: "examine", path, errno) }
        if status.st_mode & S_IFMT != S_IFREG {
            let kind =
                switch status.st_mode & S_IFMT {
                case S_IFLNK: "a symbolic link"
                case S_IFIFO: "a pipe"
                case S_IFSOCK: "a socket"
                default: "a device"
                }
            return refuse(
                .notARegularFile, "the file is \(kind)", "copy or rename the file itself into the inbox", status)
        }
        let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == EACCES || errno == ELOOP {
                return refuse(
                    .notARegularFile, "the file cannot be read: \(String(cString: strerror(errno)))",
                    "make it readable for the daemon's user", status)
            }
            throw OrchestrationError(system: "open", path, errno)
        }
        defer { close(descriptor) }
        guard fstat(descriptor, &status) == 0 else { throw OrchestrationError(system: "examine", path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw OrchestrationError(.changed, "\(path) was replaced while it was opened")
        }
        if status.st_nlink != 1 {
            return refuse(
                .notARegularFile, "the file is a hard link, so it can still change under another name",
                "copy the file, or remove its other name", status)
        }
        if status.st_size > limit {
            return ManifestFile(
                content: .refused(.tooLarge(bytes: Int(status.st_size), limit: limit)), size: Int64(status.st_size),
                ownerID: status.st_uid)
        }
        var data = Data(count: limit + 1)
        var length = 0
        while length <= limit {
            let count = data.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress! + length, limit + 1 - length)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw OrchestrationError(system: "read", path, errno)
            }
            if count == 0 { break }
            length += count
        }
        var after = stat()
        guard fstat(descriptor, &after) == 0 else { throw OrchestrationError(system: "examine", path, errno) }
        guard after.st_size == status.st_size, length == Int(status.st_size),
            after.st_mtim.tv_sec == status.st_mtim.tv_sec, after.st_mtim.tv_nsec == status.st_mtim.tv_nsec
        else { throw OrchestrationError(.changed, "\(path) was written to while it was read") }
        return ManifestFile(
            content: .bytes(data.prefix(length)), size: Int64(length), ownerID: status.st_uid)
    }
}
