/// How often text has what looks like a person's: addresses for mail, numbers of phones and of payment cards.
///
/// Patterns find what is written in the usual ways, and some of what they find is none. They are for noticing that a night's
/// data are not what they were, not for proving that there is nothing.
package struct PersonalData: Codable, Sendable, Equatable {
    package var mailAddresses = 0
    package var phoneNumbers = 0
    package var cardNumbers = 0

    /// Of all kinds.
    package var total: Int { mailAddresses + phoneNumbers + cardNumbers }

    static func += (sum: inout PersonalData, one: PersonalData) {
        sum.mailAddresses += one.mailAddresses
        sum.phoneNumbers += one.phoneNumbers
        sum.cardNumbers += one.cardNumbers
    }

    init() {}

    /// Counts what is in a text.
    init(in text: String) {
        var text = text
        self = text.withUTF8 { bytes in
            var found = PersonalData()
            var index = 0
            while index < bytes.count {
                let byte = bytes[index]
                if byte == UInt8(ascii: "@") {
                    if Self.isMailAddress(bytes, at: index) { found.mailAddresses += 1 }
                    index += 1
                } else if Self.isDigit(byte) || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "(") {
                    let number = NumberText(bytes, from: index)
                    if number.isCard {
                        found.cardNumbers += 1
                    } else if number.isPhone {
                        found.phoneNumbers += 1
                    }
                    index = max(index + 1, number.end)
                } else {
                    index += 1
                }
            }
            return found
        }
    }

    fileprivate static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }

    fileprivate static func isWord(_ byte: UInt8) -> Bool {
        isDigit(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }

    /// Whether a name stands before the sign and a domain with a dot and a last part of letters behind it.
    private static func isMailAddress(_ bytes: UnsafeBufferPointer<UInt8>, at sign: Int) -> Bool {
        guard sign > 0, isWord(bytes[sign - 1]) || "_-+%".utf8.contains(bytes[sign - 1]) else { return false }
        var index = sign + 1
        var last = 0, labels = 0, areLetters = true
        while index < bytes.count {
            let byte = bytes[index]
            if isWord(byte) || byte == UInt8(ascii: "-") {
                last += 1
                areLetters = areLetters && byte > 57
            } else if byte == UInt8(ascii: "."), last > 0, index + 1 < bytes.count, isWord(bytes[index + 1]) {
                labels += 1
                (last, areLetters) = (0, true)
            } else {
                break
            }
            index += 1
        }
        return labels > 0 && last >= 2 && areLetters
    }

    /// Digits with what people put between them.
    private struct NumberText {
        private var digits: [UInt8] = []
        /// How many digits stand together, from the first.
        private var groups: [Int] = []
        private var separators: Set<UInt8> = []
        private var hasPlus = false
        private var isApart = true
        private(set) var end: Int

        init(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) {
            // Part of a word, such as an identifier, or behind a point or a sign: of a larger number.
            if start > 0, PersonalData.isWord(bytes[start - 1]) || "._-".utf8.contains(bytes[start - 1]) {
                isApart = PersonalData.isDigit(bytes[start]) ? false : true
            }
            var index = start, group = 0
            hasPlus = bytes[index] == UInt8(ascii: "+")
            if hasPlus { index += 1 }
            var gap = 0
            end = index
            while index < bytes.count, digits.count < 24 {
                let byte = bytes[index]
                if PersonalData.isDigit(byte) {
                    if gap > 0, group > 0 {
                        groups.append(group)
                        group = 0
                    }
                    digits.append(byte - 48)
                    group += 1
                    gap = 0
                    end = index + 1
                } else if " -/.()".utf8.contains(byte), gap < 2 {
                    if group > 0 || byte == UInt8(ascii: "(") { gap += 1 } else { break }
                    // Only what is followed by a digit counts.
                    var next = index + 1
                    while next < bytes.count, next - index < 2, " ()".utf8.contains(bytes[next]) { next += 1 }
                    guard next < bytes.count, PersonalData.isDigit(bytes[next]) else { break }
                    separators.insert(byte)
                } else {
                    break
                }
                index += 1
            }
            if group > 0 { groups.append(group) }
            // A letter right behind it makes it a word.
            if end < bytes.count, PersonalData.isWord(bytes[end]) || bytes[end] == UInt8(ascii: "_") { isApart = false }
        }

        /// 13 to 19 digits in groups of at least three, by the check digit of ISO/IEC 7812 (Luhn), of a range that card
        /// schemes use.
        var isCard: Bool {
            guard isApart, !hasPlus, (13...19).contains(digits.count), (2...6).contains(digits[0]),
                separators.isSubset(of: Set(" -".utf8)), separators.count < 2,
                groups.count == 1 || groups.allSatisfy({ $0 >= 3 })
            else { return false }
            var sum = 0
            for (index, digit) in digits.reversed().enumerated() {
                let value = index % 2 == 1 ? Int(digit) * 2 : Int(digit)
                sum += value > 9 ? value - 9 : value
            }
            return sum % 10 == 0 && Set(digits).count > 1
        }

        /// `+` and 8 to 15 digits (ITU-T E.164); ten digits as (555) 010-4477 or 555-010-4477; or 9 to 13 that begin with a
        /// zero, in groups, the first of at least three.
        var isPhone: Bool {
            guard isApart else { return false }
            if hasPlus { return (8...15).contains(digits.count) && digits[0] > 0 }
            if groups == [3, 3, 4], !separators.isEmpty, digits[0] > 1 { return true }
            return digits.first == 0 && (9...13).contains(digits.count) && groups.count > 1 && groups[0] >= 3
                && !separators.contains(UInt8(ascii: "."))
        }
    }
}
