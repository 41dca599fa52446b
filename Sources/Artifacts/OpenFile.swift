import CLinux
import Foundation

/// An open file or folder, closed when it goes out of scope.
///
/// Every call retries when interrupted, and throws with the path.
struct OpenFile: ~Copyable {
    /// One read or write; large enough that system calls do not show beside hashing.
    static let bufferSize = 1 << 20

    let descriptor: Int32
    let path: String

    init(_ path: String, _ flags: Int32, mode: mode_t = 0, action: String = "open") throws {
        let opened = retrying { open(path, flags | O_CLOEXEC, mode) }
        guard opened >= 0 else { throw ArtifactError.system(action, path, errno) }
        self.descriptor = opened
        self.path = path
    }

    deinit { close(descriptor) }

    /// Makes everything written so far survive a power failure.
    func sync() throws {
        guard retrying({ fsync(descriptor) }) == 0 else { throw ArtifactError.system("flush", path, errno) }
    }

    func status() throws -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ArtifactError.system("examine", path, errno) }
        return status
    }

    /// Waits for an exclusive lock; it ends with this value, or with the process.
    func lock() throws {
        guard retrying({ flock(descriptor, LOCK_EX) }) == 0 else { throw ArtifactError.system("lock", path, errno) }
    }

    /// Waits for a lock that others may share; it ends with this value, or with the process.
    func lockShared() throws {
        guard retrying({ flock(descriptor, LOCK_SH) }) == 0 else { throw ArtifactError.system("lock", path, errno) }
    }

    /// Whether the exclusive lock could be had at once.
    func tryLock() throws -> Bool {
        if retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) == 0 { return true }
        guard errno == EWOULDBLOCK else { throw ArtifactError.system("lock", path, errno) }
        return false
    }

    /// Reads up to the buffer's size; 0 is the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let count = Foundation.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno != EINTR { throw ArtifactError.system("read", path, errno) }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Foundation.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw ArtifactError.system("write", path, errno)
            }
            rest = rest.dropFirst(count)
        }
    }

    func write(_ data: Data) throws {
        try data.withUnsafeBytes { try write($0) }
    }

    func truncate(to length: Int64) throws {
        guard retrying({ ftruncate(descriptor, off_t(length)) }) == 0 else {
            throw ArtifactError.system("shorten", path, errno)
        }
    }

    /// Makes the entries of a folder survive a power failure.
    static func syncFolder(_ url: URL) throws {
        try OpenFile(url.path, O_RDONLY | O_DIRECTORY).sync()
    }
}

private func retrying(_ call: () -> Int32) -> Int32 {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}
