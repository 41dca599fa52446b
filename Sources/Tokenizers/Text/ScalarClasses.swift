/// The character classes that splitting patterns ask for, for every Unicode scalar, as a two-stage table.
///
/// `\p{L}`, `\p{N}` and `\s` (White_Space); the categories are those of the Swift standard library's Unicode.
final class ScalarClasses: @unchecked Sendable {
    // Sendable holds: both tables are written in init only and live as long as the process.

    static let letter: UInt8 = 1
    static let number: UInt8 = 2
    static let space: UInt8 = 4

    /// The one table; building it takes a few milliseconds, once.
    static let shared = ScalarClasses()

    private let pageOf: UnsafeMutablePointer<UInt8>
    private let pages: UnsafeMutablePointer<UInt8>

    private init() {
        pageOf = .allocate(capacity: 0x1100)
        var distinct: [[UInt8]: UInt8] = [:]
        var flat: [UInt8] = []
        var page = [UInt8](repeating: 0, count: 256)
        for number in 0..<0x1100 {
            for low in 0..<256 { page[low] = Self.computeClass(UInt32(number << 8 | low)) }
            let index = distinct[page] ?? UInt8(distinct.count)
            if distinct[page] == nil {
                distinct[page] = index
                flat.append(contentsOf: page)
            }
            pageOf[number] = index
        }
        pages = .allocate(capacity: flat.count)
        pages.initialize(from: flat, count: flat.count)
    }

    private static func computeClass(_ value: UInt32) -> UInt8 {
        switch value {
        // Large uniform blocks, and planes without letters, numbers or spaces.
        case 0x4E00...0x9FFF, 0xAC00...0xD7A3, 0x20000...0x2A6DF: return letter
        case 0xE000...0xF8FF, 0x32400...0x10FFFF: return 0
        default: break
        }
        guard let scalar = Unicode.Scalar(value) else { return 0 }
        let properties = scalar.properties
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return letter
        case .decimalNumber, .letterNumber, .otherNumber: return number
        default: return properties.isWhitespace ? space : 0
        }
    }

    /// The class of a scalar value: ``letter``, ``number``, ``space`` or 0.
    @inline(__always)
    func ofScalar(_ value: UInt32) -> UInt8 {
        pages[Int(pageOf[Int(value >> 8)]) << 8 | Int(value & 0xFF)]
    }

    /// The class and the length in bytes of the scalar at `index`, which must be below the count.
    @inline(__always)
    func at(_ index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (kind: UInt8, length: Int) {
        let first = utf8[index]
        // Page 0 holds ASCII.
        if first < 0x80 { return (pages[Int(first)], 1) }
        let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
        return (ofScalar(value), length)
    }

    /// Whether the scalar has the property White_Space.
    func isSpace(_ scalar: Unicode.Scalar) -> Bool { ofScalar(scalar.value) == Self.space }
}
