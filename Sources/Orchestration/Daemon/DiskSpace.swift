import CLinux
package import Foundation

/// Room on a file system.
package enum DiskSpace {
    /// Bytes that may still be written where `url` lies.
    ///
    /// When that cannot be found out, as many as there can be: writing will say.
    package static func free(at url: URL) -> Int64 {
        let bytes = clinux_free_bytes(url.path)
        return bytes < 0 ? .max : bytes
    }
}
