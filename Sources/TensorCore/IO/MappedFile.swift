package import Foundation
import Glibc

/// A whole file in memory, read only, paged in by the system when touched.
///
/// The file must not be shortened in place while it is mapped: touching a page that is gone ends the process.
/// Replacing it by `rename`, as everything here does, is safe; the mapping keeps the old content.
///
/// `@unchecked Sendable`: the mapping is read-only and private, both properties are constants, and the memory is
/// given back only in `deinit`, when no other reference is left.
package final class MappedFile: @unchecked Sendable {
    /// The path as it was given; errors begin with it.
    package let path: String
    /// The content, valid while this object lives; without a base address when the file is empty.
    package let bytes: UnsafeRawBufferPointer

    /// Maps the regular file at `url`.
    ///
    /// - Throws: ``WeightFileError`` with code `notFound` or `system`.
    package init(_ url: URL) throws {
        let path = url.path(percentEncoded: false)
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            guard code != ENOENT else { throw WeightFileError(.notFound, file: path, "there is no such file") }
            throw WeightFileError(.system, file: path, "cannot be opened: \(systemMessage(code))")
        }
        defer { close(descriptor) }

        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw WeightFileError(.system, file: path, "cannot be examined: \(systemMessage(errno))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw WeightFileError(.system, file: path, "is not a regular file")
        }
        let count = Int(status.st_size)
        // mmap refuses a length of zero.
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
            throw WeightFileError(.system, file: path, "cannot be mapped: \(systemMessage(errno))")
        }
        bytes = UnsafeRawBufferPointer(start: address, count: count)
    }

    /// Lets the system take back the memory of all that has been read; what is touched again is read again.
    ///
    /// For whoever goes through a large file once and must not hold all of it.
    package func releasePages() {
        guard let address = bytes.baseAddress else { return }
        // Advice only: when it is refused, nothing but memory is lost.
        madvise(UnsafeMutableRawPointer(mutating: address), bytes.count, MADV_DONTNEED)
    }

    deinit {
        guard let address = bytes.baseAddress else { return }
        let result = munmap(UnsafeMutableRawPointer(mutating: address), bytes.count)
        assert(result == 0, "munmap of a whole mapping failed")
    }
}

/// The system's words for an `errno` value.
func systemMessage(_ code: Int32) -> String {
    String(cString: strerror(code))
}
