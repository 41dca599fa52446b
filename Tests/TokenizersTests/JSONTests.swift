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
}
