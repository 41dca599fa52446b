package import Foundation

extension ChatTemplate {
    /// Reads the chat template of a model's folder; `nil` when it has none.
    ///
    /// As in transformers, `chat_template.jinja` and `additional_chat_templates/*.jinja` win over `chat_template` in
    /// `tokenizer_config.json`, which is a string or a list of `{name, template}`. The special tokens come from
    /// `tokenizer_config.json`, and from `special_tokens_map.json` when the former lists no `added_tokens_decoder`.
    ///
    /// - Throws: ``TokenizerError`` naming the file, and for a template its line.
    package static func load(folder: URL) throws -> ChatTemplate? {
        let configuration = folder.appending(path: "tokenizer_config.json")
        let node =
            FileManager.default.fileExists(atPath: configuration.path)
            ? try JSONNode(contentsOf: configuration) : nil
        var templates = try templateFiles(in: folder)
        var file = folder.appending(path: "chat_template.jinja").path
        if templates.isEmpty {
            file = configuration.path
            templates = try configuredTemplates(in: node)
        }
        guard !templates.isEmpty else { return nil }
        let tokens = try specialTokens(in: node, folder: folder)
        return try ChatTemplate(templates: templates, specialTokens: tokens, file: file)
    }

    private static func text(of file: URL) throws -> String {
        do {
            let data = try Data(contentsOf: file)
            guard let text = String(validating: data, as: UTF8.self) else {
                throw TokenizerError(.invalidValue, file: file.path, "is not UTF-8")
            }
            return text
        } catch let error as TokenizerError {
            throw error
        } catch {
            throw TokenizerError(.unreadable, file: file.path, "cannot be read: \(error.localizedDescription)")
        }
    }

    private static func templateFiles(in folder: URL) throws -> [String: String] {
        var templates: [String: String] = [:]
        let main = folder.appending(path: "chat_template.jinja")
        if FileManager.default.fileExists(atPath: main.path) { templates["default"] = try text(of: main) }
        let more = folder.appending(path: "additional_chat_templates")
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: more.path, isDirectory: &isFolder), isFolder.boolValue else {
            return templates
        }
        do {
            for name in try FileManager.default.contentsOfDirectory(atPath: more.path) where name.hasSuffix(".jinja") {
                templates[String(name.dropLast(".jinja".count))] = try text(of: more.appending(path: name))
            }
        } catch let error as TokenizerError {
            throw error
        } catch {
            throw TokenizerError(.unreadable, file: more.path, "cannot be read: \(error.localizedDescription)")
        }
        return templates
    }

    private static func configuredTemplates(in node: JSONNode?) throws -> [String: String] {
        guard let template = try node?.optional("chat_template") else { return [:] }
        if case .string(let text) = template.value { return ["default": text] }
        var templates: [String: String] = [:]
        for entry in try template.elements() {
            templates[try entry.required("name").string()] = try entry.required("template").string()
        }
        return templates
    }

    private static let standardTokens: Set<String> = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    private static func specialTokens(in node: JSONNode?, folder: URL) throws -> [String: String] {
        var tokens: [String: String] = [:]
        func read(_ node: JSONNode, isMap: Bool) throws {
            for (key, member) in try node.members() where key.hasSuffix("_token") {
                if member.isNull {
                    if standardTokens.contains(key) { tokens[key] = nil }
                } else if case .string(let text) = member.value {
                    tokens[key] = text
                } else if case .object = member.value, standardTokens.contains(key) || isMap {
                    tokens[key] = try member.required("content").string()
                }
            }
            guard let extra = try node.optional("extra_special_tokens"), case .object = extra.value else { return }
            for (key, member) in try extra.members() {
                if case .object = member.value {
                    tokens[key] = try member.required("content").string()
                } else {
                    tokens[key] = try member.string()
                }
            }
        }
        if let node { try read(node, isMap: false) }
        let map = folder.appending(path: "special_tokens_map.json")
        if try node?.optional("added_tokens_decoder") == nil, FileManager.default.fileExists(atPath: map.path) {
            try read(try JSONNode(contentsOf: map), isMap: true)
        }
        return tokens
    }
}
