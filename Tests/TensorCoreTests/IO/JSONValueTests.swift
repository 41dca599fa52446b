import Foundation
import Testing

@testable import TensorCore

@Suite struct JSONValueTests {
    private func parse(_ text: String) throws -> JSONValue { try JSONValue(Data(text.utf8), file: "file.json") }

    @Test func keepsOrderAndSpelling() throws {
        let value = try parse(
            #" {"b": [1e-05, -0.10, 12345678901234567890], "a": {"y": null, "x": true}, "c": "é\n😀"} "#)
        #expect(
            value
                == .object([
                    .init("b", .array([.number("1e-05"), .number("-0.10"), .number("12345678901234567890")])),
                    .init("a", .object([.init("y", .null), .init("x", .bool(true))])), .init("c", .string("é\n😀")),
                ]))
        #expect(value["c"] == .string("é\n😀") && value["d"] == nil && JSONValue.null["a"] == nil)
    }

    /// The right-hand text is what Python's `json.dumps(value, indent=2)` gives.
    @Test func writesAsPythonDoes() throws {
        let value = try parse(#"{"b":[1,[],{}],"a":{"k":"\u0007\" \\ / é😀\u007f"},"f":false}"#)
        #expect(
            value.text == #"""
                {
                  "b": [
                    1,
                    [],
                    {}
                  ],
                  "a": {
                    "k": "\u0007\" \\ / \u00e9\ud83d\ude00\u007f"
                  },
                  "f": false
                }
                """#)
        #expect(try parse(value.text) == value)
        #expect(
            JSONValue.sortedObject(["b": .number(1), "B": .number(0.5), "a": .null]).text
                == "{\n  \"B\": 0.5,\n  \"a\": null,\n  \"b\": 1\n}")
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "nul", "tru e", "01", "1 2", "'a'", "[1", "{a:1}",
        "\"\\x\"", "NaN",
    ])
    func refusesWhatIsNotJSON(text: String) {
        let error = #expect(throws: WeightFileError.self) { try parse(text) }
        #expect(error?.code == .malformed && error?.description.contains("file.json") == true)
    }

    @Test func refusesEndlessNesting() {
        #expect(throws: WeightFileError.self) { try parse(String(repeating: "[", count: 100_000)) }
    }
}
