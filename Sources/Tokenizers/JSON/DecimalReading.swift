/// How the digits of a JSON number become a `Double`.
enum DecimalReading {
    /// The nearest number there is.
    case nearest
    /// The digits as one whole number and the power of ten, each rounded, and then their quotient or product.
    ///
    /// It may be a unit in the last place off. serde_json reads that way unless told otherwise, and so Hugging Face's
    /// library reads its `tokenizer.json`: of two cuttings of a text whose scores are equal but for rounding, only these
    /// numbers choose the same one.
    case stepwise

    /// The value of a number as JSON writes it; `nil` when it is out of range.
    func value(of text: UnsafeBufferPointer<UInt8>) -> Double? {
        switch self {
        case .nearest: Double(String(decoding: text, as: UTF8.self))
        case .stepwise: Self.stepwise(text)
        }
    }

    private static let powers: [Double] = (0...308).compactMap { Double("1e\($0)") }

    private static func stepwise(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
        var index = text.first == UInt8(ascii: "-") ? 1 : 0
        var significand: UInt64 = 0
        var exponent = 0
        /// Takes a digit in; false when there is no room for it.
        func append(_ digit: UInt64) -> Bool {
            let (product, isTooLarge) = significand.multipliedReportingOverflow(by: 10)
            let (sum, isStillTooLarge) = product.addingReportingOverflow(digit)
            if isTooLarge || isStillTooLarge { return false }
            significand = sum
            return true
        }
        func nextDigit() -> UInt64? {
            guard index < text.count, (0x30...0x39).contains(text[index]) else { return nil }
            index += 1
            return UInt64(text[index - 1] - 0x30)
        }
        // Digits without room count by their number before the point, and not at all behind it.
        var isFull = false
        while let digit = nextDigit() {
            isFull = isFull || !append(digit)
            if isFull { exponent += 1 }
        }
        if index < text.count, text[index] == UInt8(ascii: ".") {
            index += 1
            isFull = false
            while let digit = nextDigit() {
                isFull = isFull || !append(digit)
                if !isFull { exponent -= 1 }
            }
        }
        if index < text.count {
            index += 1
            let isNegative = text[index] == UInt8(ascii: "-")
            if isNegative || text[index] == UInt8(ascii: "+") { index += 1 }
            var written = 0
            while let digit = nextDigit() { written = min(written * 10 + Int(digit), 1 << 31) }
            exponent += isNegative ? -written : written
        }
        guard let value = value(significand, timesTenTo: exponent) else { return nil }
        return text.first == UInt8(ascii: "-") ? -value : value
    }

    private static func value(_ significand: UInt64, timesTenTo exponent: Int) -> Double? {
        var value = Double(significand)
        var exponent = exponent
        while value != 0, exponent < -308 {
            value /= 1e308
            exponent += 308
        }
        if value == 0 { return 0 }
        guard exponent <= 308 else { return nil }
        value = exponent < 0 ? value / powers[-exponent] : value * powers[exponent]
        return value.isFinite ? value : nil
    }
}
