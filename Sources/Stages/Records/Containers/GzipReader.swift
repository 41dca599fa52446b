import CZlib
import Foundation
import PipelineSpec

/// Unpacks gzip (RFC 1952) as it comes, in pieces of bounded size; a file may be several gzip streams in a row.
final class GzipReader {
    private static let pieceSize = 1 << 18

    private let file: String
    private var stream = z_stream()
    private var piece = [UInt8](repeating: 0, count: pieceSize)
    /// Whether the last stream is complete and no other has begun.
    private var isAtEnd = false

    /// Whether a file that begins so is gzip.
    static func recognises(_ start: Data) -> Bool { start.starts(with: [0x1F, 0x8B]) }

    init(file: String) throws {
        self.file = file
        // 16 asks for the gzip header; 15 is the largest window.
        let status = inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard status == Z_OK else { throw StageError("out_of_memory", "zlib cannot start: \(status)", exit: .tryAgain) }
    }

    deinit { inflateEnd(&stream) }

    /// Unpacks `block`, the next bytes of the file, and hands on what comes out.
    func read(_ block: Data, _ body: (Data) throws -> Void) throws {
        try block.withUnsafeBytes { bytes in
            // zlib does not write there; its type does not say so.
            stream.next_in = UnsafeMutablePointer(mutating: bytes.bindMemory(to: UInt8.self).baseAddress)
            stream.avail_in = UInt32(bytes.count)
            defer {
                stream.next_in = nil
                stream.avail_in = 0
            }
            var isPieceFull = false
            while stream.avail_in > 0 || isPieceFull {
                if isAtEnd {
                    // Padding with zeros behind the last stream is usual on tapes, and harmless.
                    while stream.avail_in > 0, let next = stream.next_in, next.pointee == 0 {
                        stream.next_in = next + 1
                        stream.avail_in -= 1
                    }
                    guard stream.avail_in > 0 else { return }
                    inflateReset(&stream)
                    isAtEnd = false
                }
                let (status, count) = piece.withUnsafeMutableBufferPointer { piece in
                    stream.next_out = piece.baseAddress
                    stream.avail_out = UInt32(piece.count)
                    let status = inflate(&stream, Z_NO_FLUSH)
                    stream.next_out = nil
                    return (status, piece.count - Int(stream.avail_out))
                }
                guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
                    let reason = stream.msg.map { String(cString: $0) } ?? "error \(status)"
                    throw StageError("bad_record", "\(file): broken gzip: \(reason)")
                }
                if count > 0 { try body(Data(piece[..<count])) }
                isAtEnd = status == Z_STREAM_END
                isPieceFull = !isAtEnd && count == piece.count
                if status == Z_BUF_ERROR { return }
            }
        }
    }

    /// Says that the file ends here.
    func finish() throws {
        guard isAtEnd else {
            throw StageError("bad_record", "\(file): the gzip stream is not complete; was the file cut off?")
        }
    }
}
