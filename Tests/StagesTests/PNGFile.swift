import Foundation

/// A PNG file of 8-bit RGB, whose blocks are stored as they are.
enum PNGFile {
    /// - Parameter pixel: of a column and a row.
    static func data(width: Int, height: Int, _ pixel: (_ x: Int, _ y: Int) -> (UInt8, UInt8, UInt8)) -> Data {
        var rows: [UInt8] = []
        for y in 0..<height {
            rows.append(0)
            for x in 0..<width {
                let (red, green, blue) = pixel(x, y)
                rows += [red, green, blue]
            }
        }
        precondition(rows.count < 65536, "PNGFile: one stored block")
        let count = UInt16(rows.count)
        var packed: [UInt8] = [0x78, 0x01, 1]
        packed += [UInt8(count & 255), UInt8(count >> 8), UInt8(~count & 255), UInt8(~count >> 8)] + rows
        var (a, b) = (UInt32(1), UInt32(0))
        for byte in rows { (a, b) = ((a + UInt32(byte)) % 65521, (b + a + UInt32(byte)) % 65521) }
        packed += big(b << 16 | a)
        let header = chunk("IHDR", big(UInt32(width)) + big(UInt32(height)) + [8, 2, 0, 0, 0])
        return Data([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) + header + chunk("IDAT", packed)
            + chunk("IEND", [])
    }

    private static func big(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(value >> (24 - 8 * $0) & 255) } }

    private static func chunk(_ name: String, _ bytes: [UInt8]) -> Data {
        let body = Array(name.utf8) + bytes
        var sum = UInt32.max
        for byte in body {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
        }
        return Data(big(UInt32(bytes.count)) + body + big(~sum))
    }
}
