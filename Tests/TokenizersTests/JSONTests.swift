import Foundation
import Testing

@testable import Tokenizers

/// The JSON parser and writer against Foundation's.
struct JSONTests {
    private func equal(_ value: JSONValue, _ reference: Any) -> Bool {
        switch (value, reference) {
        case (.null, is NSNull): return true
        case (.string(let text), let other as String): return Array(text.utf8) == Array(other.utf8)
        case (.bool(let flag), let other as NSNumber): return flag == other.boolValue
        case (.integer(let number), let other as NSNumber): return number == other.intValue
        case (.number(let number), let other as NSNumber): return number == other.doubleValue
        case (.array(let elements), let other as [Any]):
            return elements.count == other.count && zip(elements, other).allSatisfy { equal($0, $1) }
        case (.object(let members), let other as [String: Any]):
            return members.count == other.count
                && members.allSatisfy { key, value in other[key].map { equal(value, $0) } ?? false }
        default: return false
        }
    }

    @Test(arguments: [
        #"{"a": [1, -2, 3.5, 1e3, true, false, null], "b": {"c": "d"}, "e": [], "f": {}}"#,
        #"["\u0041\u00e9\ud83e\udd17\n\t\"\\\/", "é🤗", "\u0000"]"#, " \r\n [ 1 , 2 ] ", #""text""#,
    ])
    func agreesWithFoundation(text: String) throws {
        let value = try JSONParser.parse(Data(text.utf8), file: nil)
        let reference = try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
        #expect(equal(value, reference))
        let rewritten = try JSONParser.parse(Data(JSONWriter.bytes(of: value)), file: nil)
        #expect(equal(rewritten, reference))
    }

    @Test(arguments: [
        "{", "[1", #"{"a" 1}"#, #"{a: 1}"#, "[1 2]", "01x", "+1", "01", "1.", ".5", "1e", "-", "tru", #""\x""#,
        "\"a\nb\"", "nul", #"{"a": 1,}"#, "--1",
    ])
    func refusesWhatIsNotJSON(text: String) {
        #expect(throws: TokenizerError.self) { try JSONParser.parse(Data(text.utf8), file: nil) }
    }

    @Test func refusesIllFormedUTF8() {
        #expect(throws: TokenizerError.self) { try JSONParser.parse(Data([0x22, 0xFF, 0x22]), file: nil) }
    }

    /// What Hugging Face's library makes of these scores, which are not always the nearest numbers.
    @Test func decimalsAreReadStepByStep() throws {
        let expected: [(String, Double)] = [
            ("0.1", 0.1), ("-8.5e-5", -8.5e-05), ("1e22", 1e22), ("1e23", 1e23),
            ("-9.931743621826172", -9.931743621826172),
            ("1.7976931348623157e308", .greatestFiniteMagnitude), ("2.2250738585072014e-308", 2.2250738585072014e-308),
            ("4.9e-324", 5e-324), ("1e-400", 0), ("0.000000000000000000000000000000123456789", 1.23456789e-31),
            ("123456789012345678901234567890.5", 1.2345678901234568e+29),
            ("18446744073709551615.9", 1.8446744073709552e19),
            ("18446744073709551616.25", 1.8446744073709552e19), ("1844674407370955161.55", 1.8446744073709553e18),
            ("1844674407370955161999.1", 1.8446744073709552e21),
            ("3.141592653589793238462643383279", 3.141592653589793),
            ("12345678901234567.0e-3", 12345678901234.566), ("9007199254740993.0", 9007199254740994),
            ("-12.130167007446289", -12.130167007446287), ("-2.0122928619384766", -2.012292861938477),
        ]
        for (text, value) in expected {
            let read = try JSONParser.parse(Data(text.utf8), file: nil, decimals: .stepwise)
            #expect(read.number?.bitPattern == value.bitPattern, "\(text): \(read.number ?? .nan)")
            #expect(try JSONParser.parse(Data(text.utf8), file: nil).number == Double(text))
        }
        #expect(throws: TokenizerError.self) {
            try JSONParser.parse(Data("1e309".utf8), file: nil, decimals: .stepwise)
        }
    }
}
