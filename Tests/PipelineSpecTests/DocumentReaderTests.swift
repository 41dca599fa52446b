import Foundation
import Testing

@testable import PipelineSpec

@Suite struct DocumentReaderTests {
    struct Hostile: Sendable, CustomTestStringConvertible {
        let name: String
        let text: String
        let code: String
        let line: Int?
        let column: Int?
        var testDescription: String { name }

        init(_ name: String, _ text: String, _ code: String, _ line: Int?, _ column: Int?) {
            self.name = name
            self.text = text
            self.code = code
            self.line = line
            self.column = column
        }
    }

    static let bomb =
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + (0..<12).map { i in
            let name = String(UnicodeScalar(UInt8(98 + i))), before = String(UnicodeScalar(UInt8(97 + i)))
            return "\(name): &\(name) [" + Array(repeating: "*\(before)", count: 9).joined(separator: ",") + "]"
        }.joined(separator: "\n")

    /// Aliases as keys: what the composer would hash for hours.
    static let keyBomb =
        "a: &a {x: 1}\n"
        + (0..<24).map { i in
            "k\(i): &k\(i) {? *\(i == 0 ? "a" : "k\(i - 1)") : 1, ? [*\(i == 0 ? "a" : "k\(i - 1)")] : 2}"
        }
        .joined(separator: "\n")

    static let hostile: [Hostile] = [
        Hostile("empty", "", "empty", nil, nil),
        Hostile("blank", " \n\n", "empty", nil, nil),
        Hostile("only comments", "# nothing\n", "empty", nil, nil),
        Hostile("empty document", "---\n", "empty", nil, nil),
        Hostile("alias bomb", bomb, "anchor", 1, 4),
        Hostile("alias bomb in keys", keyBomb, "anchor", 1, 4),
        Hostile("one anchor", "name: x\nbase: &b y\n", "anchor", 2, 7),
        Hostile("anchor and alias", "base: &b y\nname: *b\n", "anchor", 1, 7),
        Hostile("anchor on a mapping", "data: &d\n  train: x\n", "anchor", 1, 7),
        Hostile("anchored key", "&k name: x\n", "anchor", 1, 1),
        Hostile("undefined alias", "name: *b\n", "anchor", 1, 7),
        Hostile("tag", "name: !!str 5\n", "tag", 1, 7),
        Hostile("tag on a quoted scalar", "name: !!str \"5\"\n", "tag", 1, 7),
        Hostile("custom tag", "x: 1\nname: !ruby/object {a: 1}\n", "tag", 2, 7),
        Hostile("non-specific tag", "name: ! x\n", "tag", 1, 7),
        Hostile("merge key", "<<: {name: x}\n", "merge_key", 1, 1),
        Hostile("duplicate key", "name: x\nbase: y\nname: z\n", "duplicate_key", 3, 1),
        Hostile("duplicate key, spelled differently", "name: x\n\"name\": z\n", "duplicate_key", 2, 1),
        Hostile("duplicate key in flow", "{\"a\": 1, \"b\": {\"c\": 1}, \"a\": 2}", "duplicate_key", 1, 25),
        Hostile("duplicate key with two types", "1: x\n\"1\": y\n", "duplicate_key", 2, 1),
        Hostile("two documents", "name: x\n---\nname: y\n", "multiple_documents", 2, 1),
        Hostile("NUL", "name: a\0b\n", "binary", 1, 8),
        Hostile("escape sequence", "name: a\u{1B}[31m\n", "control_character", 1, 8),
        Hostile("escaped control character", "x: 1\nname: \"a\\x07\"\n", "control_character", 2, 7),
        Hostile("direction override", "name: a\u{202E}b\n", "control_character", 1, 8),
        Hostile("byte-order mark inside", "name: x\nb\u{FEFF}: 1\n", "control_character", 2, 2),
        Hostile("C1 line break", "name: x\u{85}base: y\n", "control_character", 1, 8),
        Hostile("too deep", String(repeating: "[", count: 40) + String(repeating: "]", count: 40), "too_deep", 1, 33),
        Hostile(
            "as deep as the parser goes", String(repeating: "[", count: 990) + String(repeating: "]", count: 990),
            "too_deep", 1, 33),
        Hostile("far too deep", String(repeating: "[", count: 2000), "too_deep", 1, 1),
        Hostile("too many values", "[" + String(repeating: "1,", count: 10_001) + "1]", "too_many_nodes", 1, 20_000),
        Hostile("huge value", "name: " + String(repeating: "x", count: 70_000), "value_too_long", 1, 7),
        Hostile("too large", String(repeating: "x", count: 1 << 20 | 1), "too_large", nil, nil),
        Hostile("truncated list", "name: x\ndata: [a, b", "truncated", 2, 12),
        Hostile("truncated quote", "name: \"x\ndata: y\n", "truncated", 2, 8),
        Hostile("truncated JSON", "{\"name\": \"x\",\n \"base\": ", "truncated", 2, 9),
        Hostile("truncated key", "name: x\ntrai", "truncated", 2, 5),
        Hostile("tab", "train:\n\tepochs: 1\n", "syntax", 2, 1),
        Hostile("colon in a value", "name: a: b\n", "syntax", 1, 8),
        Hostile("bare pattern", "data: *.jsonl\nname: x\n", "syntax", 1, 7),
        Hostile("mapping as key", "{a: 1}: 2\n", "wrong_type", 1, 1),
    ]

    @Test(arguments: hostile) func refuses(_ file: Hostile) {
        let findings = refusal(Data(file.text.utf8))
        #expect(findings.map(Place.init) == [Place(file.code, file.line, file.column)], "\(findings)")
        for finding in findings {
            #expect(finding.message.count <= 200)
            #expect(!finding.message.unicodeScalars.contains { $0.value < 0x20 })
        }
    }

    @Test func refusesOtherEncodings() {
        let cases: [(Data, Place)] = [
            (Data([0x6E, 0x3A, 0x0A, 0x78, 0xFF, 0x20]), Place("not_utf8", 2, 2)),
            (Data([0x6E, 0x3A, 0x20, 0xC3, 0xA9, 0xC3]), Place("not_utf8", 1, 5)),
            (Data([0xFF, 0xFE, 0x6E, 0x00]), Place("not_utf8", 1, 1)),
            (Data([0xFE, 0xFF, 0x00, 0x6E]), Place("not_utf8", 1, 1)),
            (Data([0xEF, 0xBB, 0xBF, 0xEF, 0xBB, 0xBF, 0x6E]), Place("control_character", 1, 1)),
            (Data([0x7F, 0x45, 0x4C, 0x46, 0x00, 0xFF, 0xC0]), Place("binary", 1, 1)),
            (Data([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00]), Place("binary", 1, 1)),
        ]
        for (data, place) in cases { #expect(refusal(data).map(Place.init) == [place]) }
    }

    @Test func hintsAtQuotationMarksForPatterns() {
        for text in ["data: *.jsonl\n", "data: *data\n"] {
            #expect(refusal(Data(text.utf8)).first?.hint == "put a pattern that starts with * in quotation marks")
        }
    }

    @Test func acceptsOneMarkAtTheStartAndAnEndMarker() throws {
        let node = try DocumentReader().read(Data([0xEF, 0xBB, 0xBF]) + Data("# c\r\nname: x\r\n...\r\n".utf8))
        #expect(node["name"]?.scalar?.text == "x")
        #expect(node["name"]?.mark == SourceMark(line: 2, column: 7))
    }

    @Test func readsJSON() throws {
        let text = "{\n\t\"name\":\"a\\u00e9\\/b\",\n\t\"n\":[1,2.5,true,null]\n}"
        let node = try DocumentReader().read(Data(text.utf8))
        #expect(node["name"]?.scalar?.text == "aé/b")
        #expect(node["n"]?.json == [1, .number(2.5), true, .null])
        #expect(node["n"]?.elements?[2].pointer == "/n/2")
        #expect(node["n"]?.elements?[2].mark == SourceMark(line: 3, column: 13))
    }

    @Test func pointersAreEscaped() throws {
        let node = try DocumentReader().read(Data("a/b:\n  c~d: [x]\n".utf8))
        #expect(node["a/b"]?["c~d"]?.elements?[0].pointer == "/a~1b/c~0d/0")
    }

    @Test func valuesThatLookLikePropertiesAreText() throws {
        let node = try DocumentReader().read(Data("a: \"&x *x\"\nb: x & y * z\nc: a!b\nd: '*.jsonl'\n".utf8))
        #expect(node.json == ["a": "&x *x", "b": "x & y * z", "c": "a!b", "d": "*.jsonl"])
    }

    @Test(arguments: [
        ("2e-4", JSONValue.number(2e-4)), ("1e-5", .number(1e-5)), ("1.0e-4", .number(1e-4)), ("1E3", .number(1000)),
        (".5", .number(0.5)), ("5.", .number(5)), ("+3", 3), ("-3", -3), ("010", 10), ("0x1F", 31), ("0o17", 15),
        ("1.10", .number(1.1)), ("12:30:45", "12:30:45"), ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("off", "off"),
        ("y", "y"), ("true", true), ("False", false), ("TRUE", true), ("tRUE", "tRUE"), ("null", .null), ("~", .null),
        ("1_000", "1_000"), ("1e", "1e"), ("e5", "e5"), (".", "."), ("-", "-"), ("0x", "0x"),
        ("2026-11-21", "2026-11-21"),
        ("\"5\"", "5"), ("'true'", "true"), ("\"\"", ""), (".inf", .number(.infinity)), ("nan", "nan"), ("inf", "inf"),
    ])
    func resolvesScalars(_ text: String, _ value: JSONValue) throws {
        let node = try DocumentReader().read(Data("[\(text), x]".utf8))
        if text == "-" { return }  // an indicator, not a scalar
        #expect(node.elements?[0].json == value)
    }
}
