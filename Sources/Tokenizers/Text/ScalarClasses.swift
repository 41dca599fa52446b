/// The character classes that splitting patterns ask for, for every Unicode scalar, as a two-stage table.
///
/// `\p{L}`, `\p{N}` and `\s` (White_Space), as far as ``UnicodeVersion/expressions`` assigns them.
final class ScalarClasses: Sendable {
    static let letter: UInt8 = 1
    static let number: UInt8 = 2
    static let space: UInt8 = 4

    /// The one table; building it takes a few milliseconds, once.
    static let shared = ScalarClasses()

    private let table = ScalarTable(computeClass)

    private init() {}

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
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            return scalar.isAssigned(by: UnicodeVersion.expressions) ? letter : 0
        case .decimalNumber, .letterNumber, .otherNumber:
            return scalar.isAssigned(by: UnicodeVersion.expressions) ? number : 0
        default: return properties.isWhitespace ? space : 0
        }
    }

    /// The class of a scalar value: ``letter``, ``number``, ``space`` or 0.
    @inline(__always)
    func ofScalar(_ value: UInt32) -> UInt8 { table[value] }

    /// The class and the length in bytes of the scalar at `index`, which must be below the count.
    @inline(__always)
    func at(_ index: Int, in utf8: UnsafeBufferPointer<UInt8>) -> (kind: UInt8, length: Int) {
        let first = utf8[index]
        if first < 0x80 { return (table[latin: first], 1) }
        let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
        return (ofScalar(value), length)
    }

    /// Whether the scalar has the property White_Space.
    func isSpace(_ scalar: Unicode.Scalar) -> Bool { ofScalar(scalar.value) == Self.space }
}
