import Foundation

/// Numbers as Python reads, rounds and prints them.
enum PythonNumber {
    /// What `repr` prints for a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on.
    static func text(of value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
        let (digits, point) = shortestDigits(of: abs(value))
        let sign = value < 0 ? "-" : ""
        if point > 16 || point < -3 {
            let exponent = point - 1
            let mantissa = digits.count == 1 ? digits : "\(digits.prefix(1)).\(digits.dropFirst())"
            let size = abs(exponent) < 10 ? "0\(abs(exponent))" : "\(abs(exponent))"
            return "\(sign)\(mantissa)e\(exponent < 0 ? "-" : "+")\(size)"
        }
        if point <= 0 { return "\(sign)0.\(String(repeating: "0", count: -point))\(digits)" }
        if point >= digits.count { return "\(sign)\(digits)\(String(repeating: "0", count: point - digits.count)).0" }
        return "\(sign)\(digits.prefix(point)).\(digits.dropFirst(point))"
    }

    /// The shortest digits of a positive number, and where the point stands from their left.
    private static func shortestDigits(of value: Double) -> (digits: String, point: Int) {
        let parts = value.description.lowercased().split(separator: "e")
        let exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        var point = mantissa[0].count + exponent
        var digits = mantissa.joined()
        let zeros = digits.prefix { $0 == "0" }.count
        digits = String(digits.dropFirst(zeros))
        point -= zeros
        while digits.hasSuffix("0") { digits.removeLast() }
        return (digits, point)
    }

    /// The number with so many digits after the point, rounded as its exact value says, half to even.
    static func fixed(_ value: Double, digits: Int) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        return String(format: "%.\(digits)f", value)
    }

    /// `int(text, base)`; `nil` where Python raises a ValueError.
    static func integer(_ text: PythonString, base: Int) throws -> Int? {
        var digits = text.stripped().text.lowercased()
        var isNegative = false
        if let sign = digits.first, sign == "-" || sign == "+" {
            isNegative = sign == "-"
            digits.removeFirst()
        }
        let prefixes = [16: "0x", 8: "0o", 2: "0b"]
        var hasPrefix = false
        if let prefix = prefixes[base], digits.hasPrefix(prefix) {
            digits.removeFirst(2)
            hasPrefix = true
        }
        guard digits.utf8.allSatisfy({ $0 < 0x80 }) else {
            throw JinjaFailure.unsupported("a number in other digits than 0 to 9 is not supported")
        }
        if digits.hasPrefix("_"), !hasPrefix { return nil }
        guard !digits.hasSuffix("_"), !digits.contains("__") else { return nil }
        let plain = digits.replacing("_", with: "")
        guard !plain.isEmpty, plain.allSatisfy({ $0.hexOrLetterValue.map { $0 < base } ?? false }) else { return nil }
        guard let value = Int((isNegative ? "-" : "") + plain, radix: base) else {
            throw JinjaFailure.unsupported("the number \(plain.prefix(30)) does not fit 64 bits")
        }
        return value
    }

    /// `float(text)`; `nil` where Python raises a ValueError.
    static func float(_ text: PythonString) -> Double? {
        let body = text.stripped().text.lowercased()
        let unsigned = body.hasPrefix("-") || body.hasPrefix("+") ? String(body.dropFirst()) : body
        let isNegative = body.hasPrefix("-")
        switch unsigned {
        case "inf", "infinity": return isNegative ? -.infinity : .infinity
        case "nan": return .nan
        default: break
        }
        var previous: Character = "."
        for (character, next) in zip(unsigned, unsigned.dropFirst() + ".") {
            switch character {
            case "0"..."9", ".", "e": break
            case "+", "-": guard previous == "e" else { return nil }
            case "_": guard previous.isASCIIDigit, next.isASCIIDigit else { return nil }
            default: return nil
            }
            previous = character
        }
        var plain = unsigned.replacing("_", with: "")
        if plain.hasPrefix(".") { plain = "0" + plain }
        plain = plain.replacing(".e", with: ".0e")
        if plain.hasSuffix(".") { plain += "0" }
        guard plain.first?.isASCIIDigit == true, unsigned.contains(where: \.isASCIIDigit),
            unsigned.first != "e", let value = Double(plain)
        else { return nil }
        return isNegative ? -value : value
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { ("0"..."9").contains(self) }

    fileprivate var hexOrLetterValue: Int? {
        guard let ascii = asciiValue else { return nil }
        switch ascii {
        case 48...57: return Int(ascii) - 48
        case 97...122: return Int(ascii) - 87
        default: return nil
        }
    }
}

extension PythonNumber {
    static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
}
