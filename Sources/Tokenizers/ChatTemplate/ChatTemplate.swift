package import Foundation

/// A model's chat template: the Jinja text that turns messages into the one string the model was trained on.
///
/// It renders as transformers' `apply_chat_template` does, or fails with an error that names the line. What the
/// renderer does not know is refused, never guessed.
package struct ChatTemplate: Sendable {
    /// A conversation as one text.
    package struct Rendered: Sendable {
        package let text: String
        /// What stands in `{% generation %}` blocks, in Unicode scalars of `text`; empty when the template has none.
        package let generated: [Range<Int>]
    }

    /// The templates by name; a folder with one template calls it `default`.
    let templates: [String: JinjaTemplate]
    /// Where the templates come from, for errors.
    let file: String?
    /// `bos_token`, `eos_token` and the other special tokens that templates can print.
    package let specialTokens: [String: String]
    /// Whether a template prints the date: then the same conversation renders differently tomorrow.
    package let usesClock: Bool
    /// What one render may use; beyond it there is an error.
    var limits = JinjaInterpreter.Limits()

    /// Parses one template.
    ///
    /// - Parameter specialTokens: What the template finds as `bos_token` and so on.
    /// - Throws: ``TokenizerError``: `template_syntax`, or `unsupported` for what chat templates do not use.
    package init(_ text: String, specialTokens: [String: String] = [:], file: String? = nil) throws {
        try self.init(templates: ["default": text], specialTokens: specialTokens, file: file)
    }

    init(templates: [String: String], specialTokens: [String: String], file: String?) throws {
        self.file = file
        self.specialTokens = specialTokens
        var parsed: [String: JinjaTemplate] = [:]
        for (name, text) in templates {
            do {
                parsed[name] = try JinjaParser.parse(text)
            } catch let failure as JinjaFailure {
                throw failure.error(in: file)
            }
        }
        self.templates = parsed
        usesClock = templates.values.contains { $0.contains("strftime_now") }
    }

    /// Renders a conversation.
    ///
    /// As in transformers, members of a message that are null count as absent, reasoning is found under
    /// `reasoning_content` whichever of its names it came under, and `tools` selects the template named `tool_use`
    /// where there is one.
    ///
    /// - Parameters:
    ///   - messages: Objects with `role` and `content` and whatever else the template reads; at least one.
    ///   - tools: JSON schemas of functions; `nil` is not the same as none, to some templates.
    ///   - documents: Objects, for templates that quote sources.
    ///   - addGenerationPrompt: Whether to end with the header of an answer.
    ///   - variables: Further variables such as `enable_thinking`; they win over special tokens of the same name.
    ///   - clock: What `strftime_now` prints, in the local time zone.
    /// - Throws: ``TokenizerError``: `template_raised` when the template refuses the conversation, `template_failed`
    ///   when it fails on it, `template_limit` when it takes too much.
    package func render(
        messages: [OrderedJSON], tools: [OrderedJSON]? = nil, documents: [OrderedJSON]? = nil,
        addGenerationPrompt: Bool = false, variables: [String: OrderedJSON] = [:], clock: Date = Date()
    ) throws -> Rendered {
        let conversation = try Conversation(
            self, messages: messages, tools: tools, documents: documents, variables: variables, clock: clock)
        let bytes = try conversation.render(conversation.messages, addGenerationPrompt: addGenerationPrompt)
        return Rendered(text: String(decoding: bytes.text, as: UTF8.self), generated: bytes.scalarRanges())
    }

    /// The template that transformers takes: `tool_use` for a conversation with tools, else `default`.
    func template(hasTools: Bool) throws -> JinjaTemplate {
        if hasTools, let template = templates["tool_use"] { return template }
        if let template = templates["default"] { return template }
        let names = templates.keys.sorted().joined(separator: ", ")
        throw TokenizerError(
            .invalidValue, file: file, "none of the chat templates (\(names)) is named 'default'")
    }
}

/// A conversation made ready to be rendered, more than once.
struct Conversation {
    /// One render, in bytes.
    struct Output {
        let text: [UInt8]
        let generated: [Range<Int>]
        let hasMisplacedGeneration: Bool

        /// The generation blocks in Unicode scalars.
        func scalarRanges() -> [Range<Int>] {
            var counter = ScalarCounter(text)
            return generated.map { counter.scalars(atByte: $0.lowerBound)..<counter.scalars(atByte: $0.upperBound) }
        }
    }

    let messages: [JinjaValue]
    let template: JinjaTemplate
    let file: String?
    let eosToken: [UInt8]
    private let variables: [String: JinjaValue]
    private let clock: Date
    private let limits: JinjaInterpreter.Limits

    init(
        _ chat: ChatTemplate, messages: [OrderedJSON], tools: [OrderedJSON]?, documents: [OrderedJSON]?,
        variables: [String: OrderedJSON], clock: Date
    ) throws {
        file = chat.file
        self.clock = clock
        limits = chat.limits
        template = try chat.template(hasTools: tools != nil)
        eosToken = Array((chat.specialTokens["eos_token"] ?? "").utf8)
        func refuse(_ index: Int, _ list: String, _ message: String) -> TokenizerError {
            TokenizerError(.invalidValue, pointer: "/\(list)/\(index)", message)
        }
        guard !messages.isEmpty else {
            throw TokenizerError(.invalidValue, pointer: "/messages", "a conversation needs at least one message")
        }
        do {
            self.messages = try messages.enumerated().map { index, message in
                guard case .object(let members) = message else {
                    throw refuse(index, "messages", "a message must be an object, this is \(message.kind)")
                }
                return try JinjaValue(.object(Self.normalized(members)))
            }
            for (list, items) in [("tools", tools), ("documents", documents)] {
                for (index, item) in (items ?? []).enumerated() {
                    guard case .object = item else {
                        throw refuse(index, list, "an object is needed, this is \(item.kind)")
                    }
                }
            }
            var all = chat.specialTokens.mapValues { JinjaValue.string($0) }
            for (name, value) in variables {
                guard !["messages", "tools", "documents", "add_generation_prompt"].contains(name) else {
                    throw TokenizerError(.invalidValue, "the variable '\(name)' is given by the conversation itself")
                }
                all[name] = try JinjaValue(value)
            }
            all["tools"] = try tools.map { try JinjaValue(.array($0)) } ?? JinjaValue.none
            all["documents"] = try documents.map { try JinjaValue(.array($0)) } ?? JinjaValue.none
            self.variables = all
        } catch let failure as JinjaFailure {
            throw failure.error(in: nil)
        }
    }

    /// Without null members, and with reasoning under the names that templates read.
    private static func normalized(
        _ members: [(key: String, value: OrderedJSON)]
    ) -> [(key: String, value: OrderedJSON)] {
        func isNull(_ value: OrderedJSON) -> Bool { if case .null = value { true } else { false } }
        var places: [String: Int] = [:]
        var kept: [(key: String, value: OrderedJSON)] = []
        // Of a key that is there twice, the first gives the place and the last the value.
        for member in members {
            if let place = places[member.key] {
                kept[place].value = member.value
            } else {
                places[member.key] = kept.count
                kept.append(member)
            }
        }
        kept.removeAll { isNull($0.value) }
        let names = ["reasoning_content", "thinking", "reasoning"]
        guard let reasoning = names.lazy.compactMap({ name in kept.first { $0.key == name } }).first?.value else {
            return kept
        }
        let thinking = kept.first { $0.key == "thinking" }?.value
        kept.removeAll { $0.key == "thinking" }
        kept.insert(("thinking", thinking ?? reasoning), at: 0)
        if let place = kept.firstIndex(where: { $0.key == "reasoning_content" }) {
            kept[place].value = reasoning
        } else {
            kept.append(("reasoning_content", reasoning))
        }
        return kept
    }

    func render(_ messages: some Sequence<JinjaValue>, addGenerationPrompt: Bool) throws -> Output {
        do {
            var all = variables
            all["messages"] = .list(try JinjaSequence(Array(messages)))
            all["add_generation_prompt"] = .bool(addGenerationPrompt)
            let interpreter = JinjaInterpreter(variables: all, clock: clock, limits: limits)
            try interpreter.run(template)
            return Output(
                text: interpreter.output, generated: interpreter.generated,
                hasMisplacedGeneration: interpreter.hasMisplacedGeneration)
        } catch let failure as JinjaFailure {
            throw failure.error(in: file)
        }
    }
}

/// Counts Unicode scalars up to byte offsets that grow.
struct ScalarCounter {
    private let text: [UInt8]
    private var byte = 0
    private var count = 0

    init(_ text: [UInt8]) { self.text = text }

    mutating func scalars(atByte offset: Int) -> Int {
        if offset < byte { (byte, count) = (0, 0) }
        while byte < offset {
            if !UTF8Reading.isContinuation(text[byte]) { count += 1 }
            byte += 1
        }
        return count
    }
}
