import Foundation

/// Makes the description of a tokenizer from a vocabulary and its configuration.
struct BareVocabulary {
    let configuration: TokenizerConfiguration

    /// Reads a file whole.
    static func bytes(of url: URL) throws -> [UInt8] {
        do {
            return Array(try Data(contentsOf: url))
        } catch {
            throw TokenizerError(.unreadable, file: url.path, "cannot be read: \(error.localizedDescription)")
        }
    }

    /// A file that is a SentencePiece model, or, under the same name, a tiktoken file.
    func model(_ url: URL) throws -> JSONNode {
        let bytes = try Self.bytes(of: url)
        // A model starts with its first piece, field 1 of the message; a tiktoken file with base64.
        guard bytes.first == 0x0A else { return try tiktoken(url) }
        return JSONNode(
            value: try description(of: try SentencePieceFile(bytes, file: url.path), file: url.path), file: url.path,
            pointer: "")
    }

    /// An error about a class for which nothing is known here.
    func unsupportedClass(_ file: String, _ supported: String...) -> TokenizerError {
        let name = configuration.tokenizerClass.map { "the tokenizer_class \"\($0)\"" } ?? "no tokenizer_class"
        return TokenizerError(
            .unsupported, file: file,
            "\(name) with this file is not supported; supported: \(supported.joined(separator: ", ")). "
                + "Save the tokenizer as tokenizer.json with transformers")
    }

    /// The added tokens: those of the configuration, then `own`, then those that the configuration gives a part to.
    ///
    /// A token that is not in the vocabulary gets the next free id, as in transformers.
    func addedTokens(
        own: [(content: String, isSpecial: Bool)], specials: [String] = [], id: (String) -> Int32?, count: Int
    ) throws -> JSONValue {
        var entries: [Int: JSONValue] = [:]
        var ids: [[UInt8]: Int] = [:]
        for (id, content, entry) in try configuration.addedTokens() {
            entries[id] = entry
            ids[Array(content.utf8)] = id
        }
        var next = max(count, (entries.keys.max() ?? -1) + 1)
        let named = try configuration.specialTokens().map { (content: $0, isSpecial: true) }
        for (content, isSpecial) in own + named + specials.map({ ($0, true) }) {
            let key = Array(content.utf8)
            if content.isEmpty || ids[key] != nil { continue }
            let found = id(content).map(Int.init)
            let place = found ?? next
            if found == nil { next += 1 }
            entries[place] = .addedToken(place, content, isSpecial: isSpecial)
            ids[key] = place
        }
        return .array(entries.sorted { $0.key < $1.key }.map(\.value))
    }

    /// A template of special tokens around one text and around two.
    ///
    /// `$A` and `$B` are the texts; a digit after a colon is a type id.
    static func template(_ single: String, _ pair: String, id: (String) throws -> Int32) rethrows -> JSONValue {
        var specials: [(key: String, value: JSONValue)] = []
        func part(_ text: Substring) throws -> JSONValue {
            let typeID = text.hasSuffix(":1") ? 1 : 0
            let name = text.hasSuffix(":1") || text.hasSuffix(":0") ? String(text.dropLast(2)) : String(text)
            if name == "$A" || name == "$B" {
                return ["Sequence": ["id": .string(String(name.dropFirst())), "type_id": .integer(typeID)]]
            }
            if !specials.contains(where: { $0.key == name }) {
                let ids: JSONValue = [.integer(Int(try id(name)))]
                specials.append((name, ["id": .string(name), "ids": ids, "tokens": [.string(name)]]))
            }
            return ["SpecialToken": ["id": .string(name), "type_id": .integer(typeID)]]
        }
        func parts(_ text: String) throws -> JSONValue { .array(try text.split(separator: " ").map(part)) }
        return [
            "type": "TemplateProcessing", "single": try parts(single), "pair": try parts(pair),
            "special_tokens": .object(specials),
        ]
    }
}
