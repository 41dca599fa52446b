/// The words of a text as numbers, alike for texts that differ in case, white space and punctuation only.
///
/// A word is a run of letters, digits and marks. Scripts that put no spaces between words have a word for each sign.
enum TextWords {
    /// The hash of each word, in its order.
    static func hashes(of text: String) -> [UInt64] {
        var hashes: [UInt64] = []
        hashes.reserveCapacity(text.utf8.count / 6)
        var hash = offset, isInside = false
        func end() {
            if isInside { hashes.append(mixed(hash)) }
            (hash, isInside) = (offset, false)
        }
        for scalar in text.unicodeScalars {
            let value = scalar.value
            if value < 0x80 {
                switch value {
                case 0x61...0x7A, 0x30...0x39: hash = (hash ^ UInt64(value)) &* prime
                case 0x41...0x5A: hash = (hash ^ UInt64(value | 0x20)) &* prime
                default:
                    end()
                    continue
                }
                isInside = true
            } else if isIdeograph(value) {
                end()
                hashes.append(mixed((offset ^ UInt64(value)) &* prime))
            } else if isLetter(scalar) {
                if scalar.properties.changesWhenLowercased {
                    for lower in scalar.properties.lowercaseMapping.unicodeScalars {
                        hash = (hash ^ UInt64(lower.value)) &* prime
                    }
                } else {
                    hash = (hash ^ UInt64(value)) &* prime
                }
                isInside = true
            } else {
                end()
            }
        }
        end()
        return hashes
    }

    /// One hash for a sequence of words.
    static func hash(of words: some Sequence<UInt64>) -> UInt64 {
        var hash = offset
        for word in words { hash = mixed(hash &* prime ^ word) }
        return hash
    }

    /// How many words a passage has that is compared, in a text of so many: 13, as is usual where training data are
    /// searched for test data; fewer in short texts, which would have none.
    static func gramLength(inTextOf words: Int) -> Int {
        switch words {
        case 26...: 13
        case 10...: 5
        default: min(3, words)
        }
    }

    /// In words, for reports.
    static let gramWords = "13 words; 5 in records of less than 26, 3 of less than 10"

    /// The hash of every passage of ``gramLength(inTextOf:)`` words. Passages of different lengths never have the same.
    static func grams(of words: [UInt64]) -> [UInt64] {
        let length = gramLength(inTextOf: words.count)
        guard length > 0 else { return [] }
        // A polynomial in the words: the next passage's takes one word in and one out.
        var power: UInt64 = 1
        for _ in 1..<max(length, 1) { power = power &* radix }
        var sum: UInt64 = 0
        var grams: [UInt64] = []
        grams.reserveCapacity(words.count - length + 1)
        for (index, word) in words.enumerated() {
            if index >= length { sum = sum &- words[index - length] &* power }
            sum = sum &* radix &+ word
            if index + 1 >= length { grams.append(mixed(sum &+ UInt64(length))) }
        }
        return grams
    }

    // FNV-1a, and the finalizer of SplitMix64 so that all bits depend on all.
    private static let offset: UInt64 = 0xCBF2_9CE4_8422_2325
    private static let prime: UInt64 = 0x0000_0100_0000_01B3
    private static let radix: UInt64 = 0x9E37_79B9_7F4A_7C15

    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    private static func isIdeograph(_ value: UInt32) -> Bool {
        switch value {
        case 0x3040...0x30FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x20000...0x3FFFF: true
        default: false
        }
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .nonspacingMark,
            .spacingMark, .decimalNumber, .letterNumber, .otherNumber:
            true
        default: false
        }
    }
}
