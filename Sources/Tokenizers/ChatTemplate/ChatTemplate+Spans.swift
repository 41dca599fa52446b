package import Foundation

extension ChatTemplate {
    /// A conversation as one text, and the parts of it that are to be trained.
    package struct Spans: Sendable {
        package struct Span: Sendable, Equatable {
            /// The place in the text, in Unicode scalars.
            package let range: Range<Int>
            /// The index of the message; `nil` for a span that the template marks itself.
            package let message: Int?
        }

        package let text: String
        /// In the order of the text, without overlap.
        package let spans: [Span]
    }

    /// Renders a conversation once and finds the text of the messages whose roles are to be trained.
    ///
    /// When only the assistant is asked for and the template has `{% generation %}` blocks, these are the spans.
    /// Otherwise a message's text is what it adds to the render of the messages before it, which must be a prefix of
    /// the whole render: for an assistant from behind the header that the generation prompt writes, for other roles
    /// from the end of the message before, headers included. A span includes what ends the turn, since a model learns
    /// to stop from it. Where a template writes a turn otherwise when others follow, an assistant's text is found by
    /// rendering the conversation with another text in its place; everything around it must stay the same.
    ///
    /// - Parameters:
    ///   - trainOn: Roles as the messages name them.
    ///   - clock: What `strftime_now` prints; the same in every render that is compared.
    /// - Throws: ``TokenizerError``: what ``render(messages:tools:documents:addGenerationPrompt:variables:clock:)``
    ///   throws, and `uncertain_spans`, whose pointer is that of the message, when no way above is sure.
    package func spans(
        messages: [OrderedJSON], tools: [OrderedJSON]? = nil, documents: [OrderedJSON]? = nil,
        trainOn roles: Set<String>, variables: [String: OrderedJSON] = [:], clock: Date = Date()
    ) throws -> Spans {
        let conversation = try Conversation(
            self, messages: messages, tools: tools, documents: documents, variables: variables, clock: clock)
        let whole = try conversation.render(conversation.messages, addGenerationPrompt: false)
        let text = String(decoding: whole.text, as: UTF8.self)
        if roles == ["assistant"], conversation.template.hasGenerationTags {
            return Spans(text: text, spans: try Self.markedSpans(of: whole, in: conversation))
        }
        var finder = SpanFinder(conversation, whole: whole.text)
        let ranges = try finder.ranges(of: roles)
        var counter = ScalarCounter(whole.text)
        return Spans(
            text: text,
            spans: ranges.map { message, range in
                let start = counter.scalars(atByte: range.lowerBound)
                return .init(range: start..<counter.scalars(atByte: range.upperBound), message: message)
            })
    }

    /// The spans that the template marks itself.
    private static func markedSpans(of whole: Conversation.Output, in conversation: Conversation) throws
        -> [Spans.Span]
    {
        let assistants = conversation.messages.indices.filter { conversation.role(of: $0) == "assistant" }
        if whole.hasMisplacedGeneration {
            throw TokenizerError(
                .uncertainSpans, file: conversation.file,
                "the template has a generation block inside a macro or another block whose text is kept, "
                    + "so its place in the conversation is not known")
        }
        let ranges = whole.scalarRanges()
        if let first = assistants.first, ranges.allSatisfy(\.isEmpty) {
            throw TokenizerError(
                .uncertainSpans, file: conversation.file, pointer: "/messages/\(first)",
                "the template has generation blocks, but none of them marks anything of this conversation")
        }
        return ranges.filter { !$0.isEmpty }.map { .init(range: $0, message: nil) }
    }
}

/// Finds the text of messages in a rendered conversation, in bytes.
private struct SpanFinder {
    private let conversation: Conversation
    private let whole: [UInt8]
    /// Renders of the first messages; `nil` where the template fails on them.
    private var prefixes: [Prefix: [UInt8]?] = [:]
    private var ends: [Int: Int?] = [:]

    private struct Prefix: Hashable {
        let count: Int
        let hasPrompt: Bool
    }

    init(_ conversation: Conversation, whole: [UInt8]) {
        self.conversation = conversation
        self.whole = whole
        prefixes[Prefix(count: conversation.messages.count, hasPrompt: false)] = whole
    }

    private var count: Int { conversation.messages.count }

    mutating func ranges(of roles: Set<String>) throws -> [(message: Int, range: Range<Int>)] {
        var ranges: [(message: Int, range: Range<Int>)] = []
        for index in 0..<count {
            guard let role = conversation.role(of: index), roles.contains(role) else { continue }
            let range = try role == "assistant" ? answer(index) : message(index)
            guard range.lowerBound >= ranges.last?.range.upperBound ?? 0 else {
                throw refusal(index, "the template writes its text before that of message \(ranges.last?.message ?? 0)")
            }
            ranges.append((index, range))
        }
        return ranges
    }

    private func refusal(_ index: Int, _ why: String) -> TokenizerError {
        TokenizerError(
            .uncertainSpans, file: conversation.file, pointer: "/messages/\(index)",
            "it is not certain which part of the rendered conversation is message \(index) "
                + "(\(conversation.role(of: index) ?? "no role")): \(why). Use a template with generation blocks, or "
                + "leave the record out")
    }

    // MARK: Renders of prefixes

    private mutating func render(_ count: Int, prompt: Bool) -> [UInt8]? {
        let key = Prefix(count: count, hasPrompt: prompt)
        if let known = prefixes[key] { return known }
        // A template may refuse a part of a conversation that it accepts as a whole; then another way is tried.
        let output =
            count == 0 && !prompt
            ? nil
            : try? conversation.render(
                conversation.messages.prefix(count), addGenerationPrompt: prompt)
        prefixes[key] = .some(output?.text)
        return output?.text
    }

    /// Where message `index` ends, when the render up to it is a prefix of the whole.
    private mutating func end(of index: Int) -> Int? {
        if let known = ends[index] { return known }
        let found = prefixEnd(of: index)
        ends[index] = .some(found)
        return found
    }

    private mutating func prefixEnd(of index: Int) -> Int? {
        guard index < count - 1 else { return whole.count }
        guard let part = render(index + 1, prompt: false) else { return nil }
        if whole.starts(with: part) { return part.count }
        // Some templates write the end token once, after everything.
        let eos = conversation.eosToken
        guard !eos.isEmpty, part.reversed().starts(with: eos.reversed()) else { return nil }
        let body = part.dropLast(eos.count)
        return whole.starts(with: body) ? body.count : nil
    }

    // MARK: Other roles than the assistant's

    private mutating func message(_ index: Int) throws -> Range<Int> {
        guard let start = index == 0 ? 0 : end(of: index - 1), let end = end(of: index) else {
            throw refusal(
                index, "the template writes the messages up to it otherwise when others follow, or not at all")
        }
        guard start <= end else { throw refusal(index, "the template writes it before an earlier message") }
        return start..<end
    }

    // MARK: Answers

    private mutating func answer(_ index: Int) throws -> Range<Int> {
        let content = locate(index)
        if case .lost = content {
            throw refusal(
                index, "the template leaves out a part of its content, as templates do that drop earlier thinking")
        }
        var start: Int?
        var end = self.end(of: index)
        if let opening = render(index, prompt: true), whole.starts(with: opening) { start = opening.count }
        if case .found(let range) = content {
            // What comes before and behind must frame the text; else the texts of two messages were mixed up.
            if let known = start, known > range.lowerBound { start = nil }
            if let known = end, known < range.upperBound { end = nil }
            if start == nil { start = range.lowerBound }
            if end == nil, let closing = closing(of: index), whole[range.upperBound...].starts(with: closing) {
                end = range.upperBound + closing.count
            }
        }
        if start == nil, let end { start = startByHeader(index, before: end) }
        guard let start, let end, start <= end else {
            throw refusal(
                index,
                start == nil
                    ? "the render up to it, with the generation prompt, is no prefix of the whole conversation"
                    : "the render that ends with it is no prefix of the whole conversation")
        }
        guard start < end else { throw refusal(index, "the template writes nothing of it") }
        return start..<end
    }

    /// What the generation prompt adds to the whole conversation.
    private mutating func header() -> [UInt8]? {
        guard let prompted = render(count, prompt: true) else { return nil }
        if prompted.starts(with: whole) { return Array(prompted.dropFirst(whole.count)) }
        let eos = conversation.eosToken
        guard !eos.isEmpty, whole.reversed().starts(with: eos.reversed()) else { return nil }
        let body = whole.dropLast(eos.count)
        return prompted.starts(with: body) ? Array(prompted.dropFirst(body.count)) : nil
    }

    /// The place behind the header, when it stands exactly once between the last sure end and `end`.
    private mutating func startByHeader(_ index: Int, before end: Int) -> Int? {
        guard let header = header(), !header.isEmpty else { return nil }
        var start = 0
        for earlier in stride(from: index - 1, through: 0, by: -1) {
            if let known = self.end(of: earlier), known <= end {
                start = known
                break
            }
        }
        let region = PythonString(String(decoding: whole[start..<end], as: UTF8.self))
        let places = region.occurrences(of: PythonString(String(decoding: header, as: UTF8.self)), limit: 2)
        return places.count == 1 ? start + places[0] + header.count : nil
    }

    /// What the template writes behind the last answer, or behind an answer whose end is sure.
    private mutating func closing(of index: Int) -> [UInt8]? {
        for other in stride(from: count - 1, through: 0, by: -1) where other != index {
            guard conversation.role(of: other) == "assistant", let end = end(of: other),
                case .found(let range) = locate(other), range.upperBound < end
            else { continue }
            return Array(whole[range.upperBound..<end])
        }
        return nil
    }

    private enum Place {
        /// The content as the message has it, perhaps without white space around it.
        case found(Range<Int>)
        /// The content stands there with something left out.
        case lost
        case unknown
    }

    /// Finds the content of a message by rendering the conversation with another text in its place.
    private func locate(_ index: Int) -> Place {
        guard case .dict(let message) = conversation.messages[index],
            case .string(let content)? = message["content"]
        else { return .unknown }
        let plain = content.stripped()
        guard !plain.isEmpty else { return .unknown }
        // The first letter differs from that of the content, so the common prefix ends where the content begins.
        for stand in ["Zq7vJ", "Kx3wY"] where !plain.text.utf8.starts(with: stand.utf8.prefix(1)) {
            let pairs = message.pairs.map { pair -> (JinjaValue, JinjaValue) in
                pair.key.text?.text == "content" ? (pair.key, .string(stand)) : (pair.key, pair.value)
            }
            guard let replaced = try? JinjaDict(pairs) else { return .unknown }
            var messages = conversation.messages
            messages[index] = .dict(replaced)
            guard let probe = try? conversation.render(messages, addGenerationPrompt: false).text else { continue }
            return place(of: content, stand: Array(stand.utf8), in: probe)
        }
        return .unknown
    }

    private func place(of content: PythonString, stand: [UInt8], in probe: [UInt8]) -> Place {
        var start = zip(whole, probe).prefix { $0 == $1 }.count
        while start > 0, start < whole.count, UTF8Reading.isContinuation(whole[start]) { start -= 1 }
        var shift = 0
        // What is left of a shortened content may begin as the other text does.
        while shift < min(start, stand.count), !probe[(start - shift)...].starts(with: stand) { shift += 1 }
        start -= shift
        guard probe[start...].starts(with: stand) else { return .unknown }
        let behind = probe[(start + stand.count)...]
        guard whole.count >= start + behind.count, whole.reversed().starts(with: behind.reversed()) else {
            return .unknown
        }
        let range = start..<(whole.count - behind.count)
        let written = PythonString(String(decoding: whole[range], as: UTF8.self))
        return written.stripped() == content.stripped() ? .found(range) : .lost
    }
}

extension Conversation {
    /// The role of a message, when it is a string.
    func role(of index: Int) -> String? {
        guard case .dict(let message) = messages[index] else { return nil }
        return message["role"]?.text?.text
    }
}
