import Foundation
import PipelineSpec

/// A tar archive in the making, the same bytes for the same content: names in the order given, no times, no owners.
///
/// The form is POSIX's ustar (IEEE Std 1003.1, pax: "ustar Interchange Format").
struct TarFile {
    private let handle: FileHandle

    /// Begins an archive at a path that is free.
    init(_ file: URL) throws {
        guard FileManager.default.createFile(atPath: file.path(percentEncoded: false), contents: nil) else {
            throw StageError("cannot_write", "\(file.path) cannot be made", exit: .tryAgain)
        }
        handle = try FileHandle(forWritingTo: file)
    }

    /// Adds a file from memory.
    func add(_ name: String, _ data: Data) throws {
        try handle.write(contentsOf: Self.header(name, size: data.count, isFolder: false))
        try handle.write(contentsOf: data)
        try pad(data.count)
    }

    /// Adds a file, a piece at a time.
    func add(_ name: String, contentsOf file: URL, size: Int) throws {
        try handle.write(contentsOf: Self.header(name, size: size, isFolder: false))
        let source = try FileHandle(forReadingFrom: file)
        defer { try? source.close() }
        var rest = size
        while rest > 0, let piece = try source.read(upToCount: min(rest, 1 << 20)), !piece.isEmpty {
            try handle.write(contentsOf: piece)
            rest -= piece.count
        }
        guard rest == 0 else { throw StageError("inputs_changed", "\(file.path) became shorter while it was read") }
        try pad(size)
    }

    /// Adds a folder.
    func addFolder(_ name: String) throws {
        try handle.write(contentsOf: Self.header(name + "/", size: 0, isFolder: true))
    }

    /// Ends the archive and flushes it.
    func finish() throws {
        try handle.write(contentsOf: Data(count: 2 * Self.block))
        try handle.synchronize()
        try handle.close()
    }

    private static let block = 512

    private func pad(_ size: Int) throws {
        try handle.write(contentsOf: Data(count: (Self.block - size % Self.block) % Self.block))
    }

    private static func header(_ name: String, size: Int, isFolder: Bool) throws -> Data {
        guard name.utf8.count <= 100 else {
            throw StageError("unsupported_export", "\(name) is too long a name for an archive")
        }
        var header = [UInt8](repeating: 0, count: block)
        func put(_ text: String, at offset: Int) {
            header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        func octal(_ value: Int, digits: Int, at offset: Int) {
            let text = String(value, radix: 8)
            put(String(repeating: "0", count: digits - text.utf8.count) + text, at: offset)
        }
        put(name, at: 0)
        octal(isFolder ? 0o755 : 0o644, digits: 7, at: 100)
        octal(0, digits: 7, at: 108)
        octal(0, digits: 7, at: 116)
        if size < 1 << 33 {
            octal(size, digits: 11, at: 124)
        } else {
            // GNU's form for what eleven octal digits cannot say: 96 bits, the first of them set.
            for index in 0..<8 { header[128 + index] = UInt8(truncatingIfNeeded: size >> (8 * (7 - index))) }
            header[124] = 0x80
        }
        octal(0, digits: 11, at: 136)
        header[156] = UInt8(ascii: isFolder ? "5" : "0")
        put("ustar", at: 257)
        put("00", at: 263)
        put("        ", at: 148)
        octal(header.reduce(0) { $0 + Int($1) }, digits: 6, at: 148)
        header[154] = 0
        header[155] = 0x20
        return Data(header)
    }
}
