import Foundation
import Glibc

/// One record of the log that `PowerLossRecorder` writes: a change of the file system, or something said about it.
struct Operation: Sendable {
    /// What was done; the numbers are the recorder's.
    enum Kind: UInt16, Sendable {
        case open = 1, write, truncate, rename, link, symlink, unlink, makeFolder, sync, syncAll, start, exit, unknown
        /// Written by the test itself: something a user has been told.
        case mark = 100
    }

    var kind: Kind
    var process: UInt32 = 0
    var inode: UInt64 = 0
    var a: Int64 = 0
    var b: Int64 = 0
    /// Most often an absolute path.
    var text: String = ""
    var data: [UInt8] = []
}

/// The log of a run: every operation of every process, in the order the kernel made them.
struct Recording: Sendable {
    /// The recorder's `record`, without padding.
    private static let headSize = 48

    private(set) var operations: [Operation]

    struct Malformed: Error, CustomStringConvertible {
        let description: String
    }

    init(_ operations: [Operation]) { self.operations = operations }

    /// - Throws: ``Malformed`` when the log does not end where a record does, or holds what cannot be replayed.
    init(contentsOf log: URL) throws {
        let bytes = [UInt8](try Data(contentsOf: log))
        operations = []
        var position = 0
        func number<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
            bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position + offset, as: T.self) }
        }
        while position < bytes.count {
            guard position + Self.headSize <= bytes.count else { throw Malformed(description: "half a record") }
            let size = Int(number(UInt32.self, at: 0))
            let textLength = Int(number(UInt32.self, at: 12)), dataLength = Int(number(UInt32.self, at: 16))
            guard size == Self.headSize + textLength + dataLength, position + size <= bytes.count,
                let kind = Operation.Kind(rawValue: number(UInt16.self, at: 4))
            else { throw Malformed(description: "a record at \(position) is broken") }
            let text = position + Self.headSize
            let operation = Operation(
                kind: kind, process: number(UInt32.self, at: 8), inode: number(UInt64.self, at: 24),
                a: number(Int64.self, at: 32), b: number(Int64.self, at: 40),
                text: String(decoding: bytes[text..<text + textLength], as: UTF8.self),
                data: Array(bytes[(text + textLength)..<(position + size)]))
            if kind == .unknown {
                throw Malformed(description: "a program did what cannot be replayed: \(operation.text)")
            }
            operations.append(operation)
            position += size
        }
    }

    /// Appends a record to a log that programs are writing.
    ///
    /// - Parameter body: The change itself, made under the lock that gives all changes their order.
    static func append(_ log: URL, _ body: () throws -> [Operation]) throws {
        let descriptor = open(log.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Malformed(description: "cannot open \(log.path): \(errno)") }
        defer { close(descriptor) }
        while flock(descriptor, LOCK_EX) != 0 {}
        for operation in try body() {
            let text = Array(operation.text.utf8)
            var bytes: [UInt8] = []
            func put(_ number: some FixedWidthInteger) {
                withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
            }
            put(UInt32(Self.headSize + text.count + operation.data.count))
            put(operation.kind.rawValue)
            put(UInt16(0))
            put(UInt32(getpid()))
            put(UInt32(text.count))
            put(UInt32(operation.data.count))
            put(UInt32(0))
            put(operation.inode)
            put(operation.a)
            put(operation.b)
            bytes += text + operation.data
            guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
                throw Malformed(description: "cannot write \(log.path)")
            }
        }
    }
}
