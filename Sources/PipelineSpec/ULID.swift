package import Foundation
import Synchronization

/// A sortable identifier: 48 bits of milliseconds and 80 random bits, as 26 letters of Crockford's base 32.
///
/// Those made by one process rise strictly, even within a millisecond and when the clock steps back.
package struct ULID: Sendable, Hashable, Comparable, CustomStringConvertible {
    private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)
    private static let last = Mutex<UInt128>(0)

    private let value: UInt128

    /// A new identifier, greater than every one this process made before.
    package init(at date: Date = Date()) {
        let milliseconds = UInt128(max(0, date.timeIntervalSince1970 * 1000))
        let random = UInt128(UInt64.random(in: 0...(.max))) << 16 | UInt128(UInt16.random(in: 0...(.max)))
        let fresh = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
        value = Self.last.withLock { last in
            last = max(fresh, last + 1)
            return last
        }
    }

    /// The identifier spelled by `text`, in capitals or not; `nil` when it spells none.
    package init?(_ text: some StringProtocol) {
        let letters = Array(text.uppercased().utf8)
        guard letters.count == 26 else { return nil }
        var value: UInt128 = 0
        for (index, letter) in letters.enumerated() {
            guard let digit = Self.alphabet.firstIndex(of: letter), index > 0 || digit < 8 else { return nil }
            value = value << 5 | UInt128(digit)
        }
        self.value = value
    }

    /// When it was made, to the millisecond.
    package var date: Date { Date(timeIntervalSince1970: Double(value >> 80) / 1000) }

    package var description: String {
        let letters = (0..<26).map { Self.alphabet[Int(truncatingIfNeeded: value >> UInt128(125 - 5 * $0)) & 31] }
        return String(decoding: letters, as: UTF8.self)
    }

    package static func < (a: ULID, b: ULID) -> Bool { a.value < b.value }
}

extension ULID: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = ULID(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a ULID")
        }
        self = id
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
