import Foundation
import PipelineSpec
import Tokenizers

/// A conversation: OpenAI's `messages` with `role` and `content`, or ShareGPT's `conversations` with `from` and
/// `value`.
enum ChatFormat: RecordFormat {
    static let name = JobManifest.DataFormat.chat
    static let shape = "chat {messages: [{role, content}]} or {conversations: [{from, value}]}"

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "messages") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        guard let value = fields.value("messages") else {
            throw UnusableRecord(reason: "the field \"\(fields.columns["messages"] ?? "messages")\" is missing")
        }
        let name = fields.name(of: "messages") ?? "messages"
        guard case .array(let items) = value else {
            throw UnusableRecord(reason: "the field \"\(name)\" is not a list but \(value.kind)")
        }
        guard !items.isEmpty else { throw UnusableRecord(reason: "the conversation has no messages") }
        var messages = try ChatMessage.list(items, name)
        if let system = try fields.optionalString("system"), !system.isEmpty {
            messages.insert(ChatMessage("system", system), at: 0)
        }
        return ChatRecord(messages: messages, tools: try ChatTools.read(fields.value("tools")))
    }
}

/// One message in the form that chat templates read.
struct ChatMessage: Sendable {
    /// `system`, `user`, `assistant` or `tool`.
    let role: String
    /// What the template sees.
    let json: OrderedJSON
    /// Whether the record itself wants the message learned, or not; `nil` leaves it to `data.train_on`.
    let isTrained: Bool?

    /// A message of plain text.
    init(_ role: String, _ content: String) {
        self.role = role
        json = .object([("role", .string(role)), ("content", .string(content))])
        isTrained = nil
    }

    /// What the roles of the usual tools mean.
    private static let roles = [
        "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
        "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant", "tool": "tool",
        "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
        "function_call": "assistant", "tool_call": "assistant",
    ]

    /// Reads the messages of a list. `name` is that of the field, for errors.
    static func list(_ items: [OrderedJSON], _ name: String) throws(UnusableRecord) -> [ChatMessage] {
        var messages: [ChatMessage] = []
        for (index, item) in items.enumerated() {
            do throws(UnusableRecord) {
                messages.append(try ChatMessage(item))
            } catch {
                throw UnusableRecord(reason: "\(name)[\(index)]: \(error.reason)")
            }
        }
        return messages
    }

    /// Reads a message in one of both spellings.
    ///
    /// A call of a tool that ShareGPT writes as text becomes one of the message's `tool_calls`. Arguments that are JSON
    /// in a string become the object they spell, which is what templates print. Content in parts becomes one text.
    init(_ item: OrderedJSON) throws(UnusableRecord) {
        guard case .object(let members) = item else {
            throw UnusableRecord(reason: "a message is not an object but \(item.kind)")
        }
        guard let roleValue = item["role"] ?? item["from"], case .string(let named) = roleValue else {
            throw UnusableRecord(reason: "a message has neither \"role\" nor \"from\"")
        }
        guard let role = Self.roles[named] else {
            throw UnusableRecord(
                reason: "the role \"\(PrintableText.line(named, limit: 40))\" is not known; "
                    + "roles are system, user, assistant and tool, or ShareGPT's human, gpt, function_call, observation"
            )
        }
        self.role = role
        isTrained = try Self.wish(of: item)
        var calls = try Self.calls(item["tool_calls"])
        var content = try Self.text(item["content"] ?? item["value"])
        if named == "function_call" || named == "tool_call" {
            let text = content ?? ""
            guard let value = try? OrderedJSON(parsing: Data(text.utf8)) else {
                throw UnusableRecord(reason: "a call of a function is not JSON")
            }
            var list = [value]
            if case .array(let several) = value { list = several }
            calls = try Self.calls(.array(list))
            content = ""
        }
        guard content != nil || calls != nil || item["reasoning_content"] != nil else {
            throw UnusableRecord(reason: "a message of the \(role) has no content")
        }
        var out: [(key: String, value: OrderedJSON)] = [
            ("role", .string(role)), ("content", .string(content ?? "")),
        ]
        if let calls { out.append(("tool_calls", .array(calls))) }
        let own: Set<String> = ["role", "from", "content", "value", "tool_calls", "weight", "train"]
        out += members.filter { !own.contains($0.key) }
        json = .object(out)
    }

    /// OpenAI's `weight` of 0 or 1, or axolotl's `train`.
    private static func wish(of item: OrderedJSON) throws(UnusableRecord) -> Bool? {
        switch item["weight"] ?? item["train"] {
        case nil, .null?: return nil
        case .bool(let isTrained)?: return isTrained
        case .integer(0)?: return false
        case .integer(1)?: return true
        default: throw UnusableRecord(reason: "the weight of a message is neither 0 nor 1")
        }
    }

    private static func text(_ value: OrderedJSON?) throws(UnusableRecord) -> String? {
        switch value {
        case nil, .null?: return nil
        case .string(let text)?: return text
        case .array(let parts)?:
            var text = ""
            for part in parts {
                guard case .string(let piece)? = part["text"] else {
                    throw UnusableRecord(reason: "a part of a message's content is no text; only text is supported")
                }
                text += piece
            }
            return text
        case let other?: throw UnusableRecord(reason: "the content of a message is not text but \(other.kind)")
        }
    }

    private static func calls(_ value: OrderedJSON?) throws(UnusableRecord) -> [OrderedJSON]? {
        guard let value else { return nil }
        if case .null = value { return nil }
        guard case .array(let items) = value else {
            throw UnusableRecord(reason: "\"tool_calls\" is not a list but \(value.kind)")
        }
        var calls: [OrderedJSON] = []
        for item in items {
            guard case .object(let function) = item["function"] ?? item,
                case .string? = OrderedJSON.object(function)["name"]
            else { throw UnusableRecord(reason: "a call of a function has no name") }
            let plain = function.map { member -> (key: String, value: OrderedJSON) in
                guard member.key == "arguments", case .string(let text) = member.value,
                    let parsed = try? OrderedJSON(parsing: Data(text.utf8)), case .object = parsed
                else { return member }
                return (member.key, parsed)
            }
            var call: [(key: String, value: OrderedJSON)] = []
            if item["function"] != nil, case .object(let members) = item {
                call = members.filter { $0.key != "function" && $0.key != "type" }
            }
            calls.append(.object(call + [("type", .string("function")), ("function", .object(plain))]))
        }
        return calls.isEmpty ? nil : calls
    }
}

/// The tools of a conversation.
enum ChatTools {
    /// Reads a list of JSON schemas, or text that holds one. A bare function is wrapped as OpenAI does, which is what
    /// templates expect.
    static func read(_ value: OrderedJSON?) throws(UnusableRecord) -> [OrderedJSON]? {
        var value = value
        if case .string(let text)? = value {
            if text.allSatisfy(\.isWhitespace) { return nil }
            guard let parsed = try? OrderedJSON(parsing: Data(text.utf8)) else {
                throw UnusableRecord(reason: "the tools are not JSON")
            }
            value = parsed
        }
        guard let value else { return nil }
        guard case .array(let tools) = value else {
            throw UnusableRecord(reason: "the tools are not a list but \(value.kind)")
        }
        var read: [OrderedJSON] = []
        for tool in tools {
            guard case .object = tool else {
                throw UnusableRecord(reason: "a tool is not an object but \(tool.kind)")
            }
            read.append(tool["function"] == nil ? .object([("type", .string("function")), ("function", tool)]) : tool)
        }
        return read.isEmpty ? nil : read
    }
}
