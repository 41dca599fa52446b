/// The versions of the Unicode tables behind Hugging Face's components.
///
/// Each component there uses a library with its own tables: punctuation and non-spacing marks are those of Unicode 8,
/// normalisation forms those of 9, the classes of regular expressions those of 16, white space, numbers and lower case
/// the newest. A character of a later version is, to the older tables, not assigned. Measured against tokenizers 0.23.3
/// over all scalars.
enum UnicodeVersion {
    static let categories = 8
    static let normalization = 9
    static let expressions = 16
}

extension Unicode.Scalar {
    /// Whether the scalar was assigned in version `major` of the standard or before.
    func isAssigned(by major: Int) -> Bool {
        if value < 0x300 { return true }
        guard let age = properties.age else { return false }
        return age.major <= major
    }

    /// General category P in Unicode 8, or ASCII punctuation and symbols: what BERT cuts off from words.
    var isPunctuationOfUnicode8: Bool {
        switch value {
        case 0..<0x80: return value > 0x20 && value < 0x7F && !properties.isAlphabetic && !(0x30...0x39).contains(value)
        // Punctuation then, a symbol and a mark since.
        case 0x166D, 0x111C9: return true
        default: break
        }
        switch properties.generalCategory {
        case .dashPunctuation, .openPunctuation, .closePunctuation, .connectorPunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return isAssigned(by: UnicodeVersion.categories)
        default: return false
        }
    }

    /// General category Mn in Unicode 8: the accents that BERT drops.
    var isNonspacingMarkOfUnicode8: Bool {
        switch value {
        case 0x1734, 0x1171E: true
        case 0x1885, 0x1886, 0xA9BD, 0x111C9: false
        default: properties.generalCategory == .nonspacingMark && isAssigned(by: UnicodeVersion.categories)
        }
    }

    /// General category M in Unicode 9.
    var isMarkOfUnicode9: Bool {
        switch value {
        case 0x1CF2, 0x1CF3: return true
        case 0x111C9: return false
        default: break
        }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark: return isAssigned(by: UnicodeVersion.normalization)
        default: return false
        }
    }

    /// General category Cc, Cf or Co in Unicode 8.
    var isOtherOfUnicode8: Bool {
        switch properties.generalCategory {
        case .control, .format, .privateUse: isAssigned(by: UnicodeVersion.categories)
        default: false
        }
    }

    /// `\w` of Unicode Technical Standard 18.
    var isWordCharacter: Bool {
        switch value {
        case 0..<0x80: return properties.isAlphabetic || (0x30...0x39).contains(value) || value == 0x5F
        default: break
        }
        let properties = self.properties
        switch properties.generalCategory {
        case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark: break
        default: guard properties.isAlphabetic || properties.isJoinControl else { return false }
        }
        return isAssigned(by: UnicodeVersion.expressions)
    }

    /// General category N, in the newest version.
    var isNumber: Bool {
        switch properties.generalCategory {
        case .decimalNumber, .letterNumber, .otherNumber: true
        default: false
        }
    }
}
