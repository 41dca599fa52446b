/// The script of every scalar, asked once of PCRE2, which knows the property where the standard library does not.
struct ScriptTable: Sendable {
    static let shared = ScriptTable()

    /// A scalar of no script, or a blank.
    static let any: UInt8 = 0

    // The names that PCRE2 10.42 knows; kana are Han here.
    private static let names: [[String]] = [
        ["Han", "Hiragana", "Katakana"], ["Common"], ["Inherited"], ["Latin"], ["Greek"], ["Cyrillic"], ["Armenian"],
        ["Hebrew"], ["Arabic"], ["Syriac"], ["Thaana"], ["Devanagari"], ["Bengali"], ["Gurmukhi"], ["Gujarati"],
        ["Oriya"], ["Tamil"], ["Telugu"], ["Kannada"], ["Malayalam"], ["Sinhala"], ["Thai"], ["Lao"], ["Tibetan"],
        ["Myanmar"], ["Georgian"], ["Hangul"], ["Ethiopic"], ["Cherokee"], ["Canadian_Aboriginal"], ["Ogham"],
        ["Runic"], ["Khmer"], ["Mongolian"], ["Bopomofo"], ["Yi"], ["Old_Italic"], ["Gothic"], ["Deseret"],
        ["Tagalog"], ["Hanunoo"], ["Buhid"], ["Tagbanwa"], ["Limbu"], ["Tai_Le"], ["Linear_B"], ["Ugaritic"],
        ["Shavian"], ["Osmanya"], ["Cypriot"], ["Braille"], ["Buginese"], ["Coptic"], ["New_Tai_Lue"], ["Glagolitic"],
        ["Tifinagh"], ["Syloti_Nagri"], ["Old_Persian"], ["Kharoshthi"], ["Balinese"], ["Cuneiform"], ["Phoenician"],
        ["Phags_Pa"], ["Nko"], ["Sundanese"], ["Lepcha"], ["Ol_Chiki"], ["Vai"], ["Saurashtra"], ["Kayah_Li"],
        ["Rejang"], ["Lycian"], ["Carian"], ["Lydian"], ["Cham"], ["Tai_Tham"], ["Tai_Viet"], ["Avestan"],
        ["Egyptian_Hieroglyphs"], ["Samaritan"], ["Lisu"], ["Bamum"], ["Javanese"], ["Meetei_Mayek"],
        ["Imperial_Aramaic"], ["Old_South_Arabian"], ["Inscriptional_Parthian"], ["Inscriptional_Pahlavi"],
        ["Old_Turkic"], ["Kaithi"], ["Batak"], ["Brahmi"], ["Mandaic"], ["Chakma"], ["Meroitic_Cursive"],
        ["Meroitic_Hieroglyphs"], ["Miao"], ["Sharada"], ["Sora_Sompeng"], ["Takri"], ["Caucasian_Albanian"],
        ["Bassa_Vah"], ["Duployan"], ["Elbasan"], ["Grantha"], ["Pahawh_Hmong"], ["Khojki"], ["Linear_A"], ["Mahajani"],
        ["Manichaean"], ["Mende_Kikakui"], ["Modi"], ["Mro"], ["Old_North_Arabian"], ["Nabataean"], ["Palmyrene"],
        ["Pau_Cin_Hau"], ["Old_Permic"], ["Psalter_Pahlavi"], ["Siddham"], ["Khudawadi"], ["Tirhuta"], ["Warang_Citi"],
        ["Ahom"], ["Anatolian_Hieroglyphs"], ["Hatran"], ["Multani"], ["Old_Hungarian"], ["SignWriting"], ["Adlam"],
        ["Bhaiksuki"], ["Marchen"], ["Newa"], ["Osage"], ["Tangut"],
    ]

    private let table: ScalarTable

    private init() {
        var scripts = [UInt8](repeating: Self.any, count: 0x110000)
        // One text with every scalar that may have a script.
        var bytes: [UInt8] = []
        for value in [UInt32(0)..<0xD800, 0xF900..<0x32000, 0xE0000..<0xE0200].joined() {
            guard let scalar = Unicode.Scalar(value), scalar.isAssigned(by: UnicodeVersion.normalization) else {
                continue
            }
            bytes.append(contentsOf: UTF8.encode(scalar)!)
        }
        for (number, names) in Self.names.enumerated() {
            for name in names {
                guard let expression = try? RegularExpression("\\p{\(name)}+") else { continue }
                bytes.withUnsafeBufferPointer { utf8 in
                    expression.forEachMatch(in: utf8) { match in
                        var index = match.lowerBound
                        while index < match.upperBound {
                            let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
                            scripts[Int(value)] = UInt8(number + 1)
                            index += length
                        }
                    }
                }
            }
        }
        scripts[0x20] = Self.any
        scripts[0x30FC] = 1
        table = ScalarTable { scripts[Int($0)] }
    }

    subscript(value: UInt32) -> UInt8 { table[value] }
}
