import Foundation

/// What the files beside a vocabulary say of it: `tokenizer_config.json`, `special_tokens_map.json` and
/// `added_tokens.json`.
struct TokenizerConfiguration {
    /// The class that transformers would make, without "Fast" at the end; `nil` when none is named, or one that says
    /// nothing.
    let tokenizerClass: String?
    private let nodes: [JSONNode]
    private let added: JSONNode?

    /// A configuration that names a class and nothing else.
    init(tokenizerClass: String?) {
        self.tokenizerClass = tokenizerClass
        nodes = []
        added = nil
    }

    /// Reads the files in `folder`; none has to be there.
    init(folder: URL) throws {
        func read(_ name: String) throws -> JSONNode? {
            let url = folder.appending(path: name)
            return FileManager.default.fileExists(atPath: url.path) ? try JSONNode(contentsOf: url) : nil
        }
        nodes = try ["tokenizer_config.json", "special_tokens_map.json"].compactMap(read)
        added = try read("added_tokens.json")
        var name = try nodes.first?.optional("tokenizer_class")?.string()
        if let full = name, full.hasSuffix("Fast") { name = String(full.dropLast(4)) }
        tokenizerClass = name == "PreTrainedTokenizer" || name == "TokenizersBackend" ? nil : name
    }

    func bool(_ key: String, default fallback: Bool) throws -> Bool {
        try nodes.first?.bool(key, default: fallback) ?? fallback
    }

    func integer(_ key: String, default fallback: Int, in range: ClosedRange<Int>) throws -> Int {
        try nodes.first?.optional(key)?.integer(in: range) ?? fallback
    }

    func optionalBool(_ key: String) throws -> Bool? { try nodes.first?.optional(key)?.bool() }

    func string(_ key: String) throws -> String? { try nodes.first?.optional(key)?.string() }

    /// The token that plays a part, such as `bos_token`.
    func token(_ key: String) throws -> String? {
        for node in nodes {
            guard let member = try node.members().last(where: { $0.key == key })?.node else { continue }
            return member.isNull ? nil : try Self.content(member)
        }
        return nil
    }

    /// The tokens with parts of their own, in the order in which transformers adds them.
    func specialTokens() throws -> [String] {
        let parts = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
        var tokens = try parts.compactMap { try token($0) }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            for node in nodes {
                guard let list = try node.optional(key), case .array = list.value else { continue }
                tokens += try list.elements().map(Self.content)
                break
            }
        }
        return tokens
    }

    /// The entries of `added_tokens_decoder` and of `added_tokens.json`, as a `tokenizer.json` writes them.
    func addedTokens() throws -> [(id: Int, content: String, entry: JSONValue)] {
        var result: [(id: Int, content: String, entry: JSONValue)] = []
        if let table = try nodes.first?.optional("added_tokens_decoder") {
            for (key, node) in try table.members() {
                guard let id = Int(key), case .object(let members) = node.value else {
                    throw node.error(.invalidValue, "expected a token under its id")
                }
                let content = try node.required("content").string()
                result.append((id, content, .object([(key: "id", value: .integer(id))] + members)))
            }
        }
        for (content, node) in try added?.members() ?? [] {
            let id = Int(try node.tokenID())
            if result.contains(where: { $0.id == id }) { continue }
            result.append((id, content, .addedToken(id, content, isSpecial: false)))
        }
        return result
    }

    private static func content(_ node: JSONNode) throws -> String {
        if case .string(let text) = node.value { return text }
        return try node.required("content").string()
    }
}

extension JSONValue {
    /// An entry of `added_tokens`.
    static func addedToken(_ id: Int, _ content: String, isSpecial: Bool) -> JSONValue {
        [
            "id": .integer(id), "content": .string(content), "special": .bool(isSpecial), "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": .bool(!isSpecial),
        ]
    }
}
