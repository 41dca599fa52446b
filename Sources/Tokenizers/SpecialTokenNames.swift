import Foundation

/// The special tokens that the files beside `tokenizer.json` name.
struct SpecialTokenNames: Sendable {
    var bos: String?
    var eos: String?
    var pad: String?
    var unk: String?

    init() {}

    /// Reads `tokenizer_config.json` in `folder`; `special_tokens_map.json` supplies what the former does not mention.
    ///
    /// Neither file has to be there. A name that is null in the first file is not looked up in the second.
    init(folder: URL) throws {
        let nodes = try ["tokenizer_config.json", "special_tokens_map.json"].compactMap { name -> JSONNode? in
            let url = folder.appending(path: name)
            return FileManager.default.fileExists(atPath: url.path) ? try JSONNode(contentsOf: url) : nil
        }
        func name(_ key: String) throws -> String? {
            for node in nodes {
                guard let member = try node.members().last(where: { $0.key == key })?.node else { continue }
                if member.isNull { return nil }
                if case .string(let text) = member.value { return text }
                return try member.required("content").string()
            }
            return nil
        }
        bos = try name("bos_token")
        eos = try name("eos_token")
        pad = try name("pad_token")
        unk = try name("unk_token")
    }
}
