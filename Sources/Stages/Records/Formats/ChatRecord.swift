import Tokenizers

/// A conversation, which becomes tokens by the chat template of the base.
struct ChatRecord: RecordContent {
    let messages: [ChatMessage]
    let tools: [OrderedJSON]?

    var identity: String {
        let parts = (tools ?? []) + messages.map(\.json)
        return parts.map(\.compactText).joined(separator: "\u{1E}")
    }

    var prose: String? {
        messages.compactMap { if case .string(let text)? = $0.json["content"] { text } else { nil } }
            .joined(separator: "\n")
    }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        [try encoder.example(of: messages, tools: tools)]
    }

    /// Leaves out whole turns: the oldest ones, or, where the last turn is itself too long, the last ones too.
    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        try ChatWindow(messages: messages, roles: encoder.trainOn).longest { window in
            let example = try encoder.example(of: window, tools: tools)
            return example.ids.count <= encoder.maxLength ? [example] : nil
        }
    }
}

/// The parts of a conversation that are conversations themselves.
///
/// A system text at its beginning always stays. A turn is a message of the user with all that answers it, so a part
/// begins with a user and never separates a tool's result from its call; it ends behind a message that is learned.
struct ChatWindow {
    private let opening: [ChatMessage]
    private let rest: [ChatMessage]
    /// Where turns begin in `rest`.
    private let starts: [Int]
    /// Where a part may end, last first.
    private let ends: [Int]

    init(messages: [ChatMessage], roles: Set<String>) {
        opening = Array(messages.prefix { $0.role == "system" })
        let rest = Array(messages.dropFirst(opening.count))
        self.rest = rest
        starts = rest.indices.filter { $0 == 0 || rest[$0].role == "user" && rest[$0 - 1].role != "user" }
        ends = rest.indices.filter { rest[$0].isTrained != false && roles.contains(rest[$0].role) }.map { $0 + 1 }
            .reversed()
    }

    /// What `encode` makes of the part with the most of the latest turns for which it makes anything.
    func longest<Encoded>(_ encode: ([ChatMessage]) throws -> Encoded?) throws -> Encoded? {
        for (place, end) in ends.enumerated() {
            let starts = starts.filter { $0 < end }
            func part(_ start: Int) throws -> Encoded? {
                // The whole is known to be too long.
                if start == 0, end == rest.count { return nil }
                return try encode(opening + rest[start..<end])
            }
            // With the shortest part too long, none that ends here fits. Each try is a render; hundreds are enough.
            guard place < 256 else { return nil }
            guard let last = starts.last, var best = try part(last) else { continue }
            var (low, high) = (0, starts.count - 1)
            while low < high {
                let middle = (low + high) / 2
                if let longer = try part(starts[middle]) {
                    best = longer
                    high = middle
                } else {
                    low = middle + 1
                }
            }
            return best
        }
        return nil
    }
}

extension OrderedJSON {
    /// The value as text: the same for the same value, and for no other.
    var compactText: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\""
        case .array(let values): "[" + values.map(\.compactText).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { "\"\($0.key)\":\($0.value.compactText)" }.joined(separator: ",") + "}"
        }
    }
}
