import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// The same text as Jinja and transformers render; `Tests/Reference/chat_templates.py` wrote what is expected.
struct ChatTemplateTests {
    static func fixture(_ name: String) throws -> OrderedJSON {
        let file = try Fixtures.folder("chat/\(name)")
        return try OrderedJSON(parsing: Data(contentsOf: file), file: file.path)
    }

    /// A date that does not matter, as no test prints it.
    private let clock = Date(timeIntervalSince1970: 1_750_000_000)

    @Test func rendersSnippetsAsJinjaDoes() throws {
        let fixture = try Self.fixture("snippets.json")
        let snippets = try #require(fixture["snippets"]?.items)
        let expectations = try #require(try Self.fixture("snippets.expected.json").items)
        let variables = try #require(fixture["variables"]?.members)
        #expect(snippets.count == expectations.count && snippets.count >= 300)
        for (snippet, expected) in zip(snippets, expectations) {
            let text = try #require(snippet.string)
            var outcome: String?
            var message = ""
            do {
                outcome = try Self.render(text, variables)
            } catch let error as JinjaFailure {
                message = "\(error.code.rawValue), line \(error.line ?? 0): \(error.message)"
                #expect(error.line != nil, "an error without a line: \(text)\n\(message)")
            }
            if let output = expected["output"]?.string {
                #expect(outcome.map(PythonString.init) == PythonString(output), "\(text)\n\(message)")
            } else {
                #expect(outcome == nil, "Jinja fails here with \(expected["error"]?.string ?? ""): \(text)")
            }
        }
    }

    static func render(
        _ text: String, _ variables: [(key: String, value: OrderedJSON)] = [],
        limits: JinjaInterpreter.Limits = .init()
    ) throws -> String {
        var values: [String: JinjaValue] = [:]
        for variable in variables { values[variable.key] = try JinjaValue(variable.value) }
        let interpreter = JinjaInterpreter(
            variables: values, clock: Date(timeIntervalSince1970: 1_750_000_000), limits: limits)
        try interpreter.run(try JinjaParser.parse(text))
        return String(decoding: interpreter.output, as: UTF8.self)
    }

    /// The template that an expectation names.
    private func template(_ name: String, specialTokens: [String: String]) throws -> ChatTemplate? {
        let parts = name.split(separator: "/", maxSplits: 1)
        switch parts[0] {
        case "fixture":
            let file = try Fixtures.folder("chat/templates/\(parts[1]).jinja")
            return try ChatTemplate(String(contentsOf: file, encoding: .utf8), specialTokens: specialTokens)
        case "named":
            // A folder with templates for several uses and the special tokens beside them.
            return try ChatTemplate.load(folder: Fixtures.folder("chat/\(name)"))
        case "chat-templates":
            guard let file = try TestData.folder("tokenizers/\(name).jinja") else { return nil }
            return try ChatTemplate(String(contentsOf: file, encoding: .utf8), specialTokens: specialTokens)
        default:
            guard let folder = try TestData.folder(name) else { return nil }
            let template = try ChatTemplate.load(folder: folder)
            #expect(template != nil, "\(name) has a template")
            return template
        }
    }

    /// No template of a model may be left out of the expectations.
    @Test func everyTemplateIsExpected() throws {
        guard let root = try TestData.folder("tokenizers"),
            let entries = FileManager.default.enumerator(atPath: root.path)
        else { return }
        let expectations = try #require(try Self.fixture("conversations.expected.json").members)
        var found: Set<String> = []
        for case let path as String in entries {
            let folder = (path as NSString).deletingLastPathComponent
            if path.hasPrefix("chat-templates/"), path.hasSuffix(".jinja") {
                found.insert((path as NSString).deletingPathExtension)
            } else if path.hasSuffix("/tokenizer_config.json"),
                try ChatTemplate.load(folder: root.appending(path: folder)) != nil
            {
                found.insert("tokenizers/\(folder)")
            }
        }
        #expect(found.isSubset(of: Set(expectations.map(\.key))) && found.count >= 7)
    }

    @Test func rendersConversationsAsTransformersDoes() throws {
        let fixture = try Self.fixture("conversations.json")
        let conversations = try #require(fixture["conversations"]?.items)
        let tokens = try #require(fixture["special_tokens"]?.members)
        let specialTokens = Dictionary(uniqueKeysWithValues: tokens.map { ($0.key, $0.value.string ?? "") })
        let expectations = try #require(try Self.fixture("conversations.expected.json").members)
        #expect(conversations.count >= 60 && expectations.count >= 8)
        for (name, results) in expectations {
            guard let template = try template(name, specialTokens: specialTokens) else { continue }
            let results = try #require(results.items)
            #expect(results.count == conversations.count)
            for (conversation, expected) in zip(conversations, results) {
                let title = "\(name), \(conversation["name"]?.string ?? "")"
                var rendered: ChatTemplate.Rendered?
                var message = ""
                do {
                    rendered = try template.render(
                        messages: try #require(conversation["messages"]?.items),
                        tools: conversation["tools"]?.items ?? (name.contains("tool_use") ? [] : nil),
                        documents: conversation["documents"]?.items,
                        addGenerationPrompt: conversation["add_generation_prompt"]?.bool ?? false,
                        variables: Dictionary(
                            uniqueKeysWithValues: (conversation["variables"]?.members ?? []).map { ($0, $1) }),
                        clock: clock)
                } catch let error as TokenizerError {
                    message = "\(error)"
                }
                guard let digest = expected["sha256"]?.string else {
                    #expect(rendered == nil, "transformers fails here: \(title)\n\(rendered?.text ?? "")")
                    continue
                }
                let text = rendered?.text ?? ""
                #expect(expected["length"]?.integer == text.unicodeScalars.count, "\(title)\n\(message)\(text)")
                #expect(digest == SHA256.hex(of: Array(text.utf8)), "\(title)\n\(message)\(text)")
                if let spans = expected["generated"]?.items {
                    #expect(
                        rendered?.generated.map { [$0.lowerBound, $0.upperBound] }
                            == spans.map { $0.items?.compactMap(\.integer) ?? [] }, "\(title)")
                }
            }
        }
    }
}

extension OrderedJSON {
    var items: [OrderedJSON]? { if case .array(let items) = self { items } else { nil } }
    var members: [(key: String, value: OrderedJSON)]? { if case .object(let members) = self { members } else { nil } }
    var string: String? { if case .string(let text) = self { text } else { nil } }
    var integer: Int? { if case .integer(let number) = self { number } else { nil } }
    var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
}

/// SHA-256 (FIPS 180-4), since this floor has no package for it.
private enum SHA256 {
    private static let constants: [UInt32] = {
        var primes: [Int] = []
        var candidate = 2
        while primes.count < 64 {
            if primes.allSatisfy({ candidate % $0 != 0 }) { primes.append(candidate) }
            candidate += 1
        }
        return primes.map { prime in
            let root = Foundation.cbrt(Double(prime))
            return UInt32(truncatingIfNeeded: Int((root - root.rounded(.down)) * 0x1p32))
        }
    }()

    static func hex(of bytes: [UInt8]) -> String {
        var state: [UInt32] = [
            0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
        ]
        var message = bytes + [0x80]
        message += Array(repeating: 0, count: (119 - bytes.count % 64) % 64)
        message += (0..<8).map { UInt8(truncatingIfNeeded: (bytes.count * 8) >> (56 - 8 * $0)) }
        func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 { value >> count | value << (32 - count) }
        for start in stride(from: 0, to: message.count, by: 64) {
            var words = (0..<16).map { word in
                (0..<4).reduce(UInt32(0)) { $0 << 8 | UInt32(message[start + word * 4 + $1]) }
            }
            for index in 16..<64 {
                let (early, late) = (words[index - 15], words[index - 2])
                let first = rotate(early, 7) ^ rotate(early, 18) ^ early >> 3
                let second = rotate(late, 17) ^ rotate(late, 19) ^ late >> 10
                words.append(words[index - 16] &+ first &+ words[index - 7] &+ second)
            }
            var s = state
            for index in 0..<64 {
                let mix = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)
                let choice = s[4] & s[5] ^ ~s[4] & s[6]
                let one = s[7] &+ mix &+ choice &+ constants[index] &+ words[index]
                let spread = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)
                let two = spread &+ (s[0] & s[1] ^ s[0] & s[2] ^ s[1] & s[2])
                s = [one &+ two, s[0], s[1], s[2], s[3] &+ one, s[4], s[5], s[6]]
            }
            for index in 0..<8 { state[index] &+= s[index] }
        }
        return state.map { word in
            let hex = String(word, radix: 16)
            return String(repeating: "0", count: 8 - hex.utf8.count) + hex
        }.joined()
    }
}
