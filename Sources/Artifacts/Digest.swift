import Crypto
package import Foundation

/// SHA-256 digests, written `sha256:` and 64 lower-case hexadecimal digits.
package enum Digest {
    /// Whether the text is a whole digest as this type writes them.
    package static func isDigest(_ text: String) -> Bool { hexadecimal(of: text) != nil }

    /// The digest of bytes in memory.
    package static func sha256(_ data: Data) -> String {
        var hasher = SHA256()
        hasher.update(data: data)
        return text(hasher)
    }

    /// The authentication code of bytes under a key, HMAC-SHA-256 after RFC 2104, in 64 hexadecimal digits.
    package static func authenticationCode(of data: Data, key: Data) -> String {
        HMAC<SHA256>.authenticationCode(for: data, using: SymmetricKey(data: key))
            .map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    /// The digest of a file, or of its first `length` bytes, read as a stream.
    ///
    /// - Throws: `inputsChanged`, naming the file, when it is shorter than `length`.
    package static func sha256(of file: URL, length: Int64? = nil) throws -> String {
        let opened = try OpenFile(file.path, O_RDONLY)
        return try sha256(of: opened, length: length)
    }

    /// One digest for a folder: that of the listing `<hexadecimal digest>␠␠<relative path>NUL` of every file in it,
    /// sorted by the paths' bytes.
    ///
    /// `find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum` computes the same.
    ///
    /// - Throws: `invalidFolder` for a symlink or special file.
    package static func directoryDigest(_ folder: URL) throws -> String {
        try listing(FileTree.files(below: folder).map { ($0, try sha256(of: folder.appending(path: $0))) })
    }

    /// The digest of a folder whose files' digests are known: see ``directoryDigest(_:)``.
    package static func listing(_ files: [(path: String, digest: String)]) -> String {
        var hasher = SHA256()
        for file in files.sorted(by: { FileTree.precedes($0.path, $1.path) }) {
            hasher.update(data: Data("\(hexadecimal(of: file.digest) ?? file.digest)  \(file.path)\0".utf8))
        }
        return text(hasher)
    }

    /// The 64 digits of a digest, or `nil` for any other text.
    static func hexadecimal(of digest: String) -> String? {
        guard digest.hasPrefix("sha256:") else { return nil }
        let digits = digest.dropFirst(7)
        let isHexadecimal = digits.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
        return digits.utf8.count == 64 && isHexadecimal ? String(digits) : nil
    }

    static func sha256(of file: borrowing OpenFile, length: Int64? = nil) throws -> String {
        var hasher = SHA256()
        try stream(file, length: length) { hasher.update(bufferPointer: $0) }
        return text(hasher)
    }

    /// Copies a file to a new path, flushes it, and says what went through.
    static func copy(_ source: URL, to copy: URL, mode: mode_t) throws -> FileRecord {
        let input = try OpenFile(source.path, O_RDONLY)
        let output = try OpenFile(copy.path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600, action: "make")
        var hasher = SHA256()
        var size: Int64 = 0
        try stream(input, length: nil) {
            hasher.update(bufferPointer: $0)
            try output.write($0)
            size += Int64($0.count)
        }
        guard fchmod(output.descriptor, mode) == 0 else {
            throw ArtifactError.system("change the permissions of", copy.path, errno)
        }
        try output.sync()
        return FileRecord(size: size, digest: text(hasher))
    }

    private static func stream(
        _ file: borrowing OpenFile, length: Int64?, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: OpenFile.bufferSize, alignment: 64)
        defer { buffer.deallocate() }
        var done: Int64 = 0
        while length.map({ done < $0 }) ?? true {
            let wanted = length.map { Int(min(Int64(buffer.count), $0 - done)) } ?? buffer.count
            let count = try file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]))
            if count == 0 { break }
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            done += Int64(count)
        }
        if let length, done < length {
            throw ArtifactError(
                .inputsChanged,
                "\(file.path) has become shorter than the \(length) bytes that were pinned: it ends after \(done); "
                    + "put the file back, or submit the job again to pin what is there now",
                path: file.path)
        }
    }

    private static func text(_ hasher: SHA256) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text = Array("sha256:".utf8)
        for byte in hasher.finalize() {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// What the store knows of one file: enough to notice a change.
package struct FileRecord: Codable, Sendable, Equatable {
    /// In bytes.
    package var size: Int64
    /// As ``Digest`` writes it.
    package var digest: String
}
