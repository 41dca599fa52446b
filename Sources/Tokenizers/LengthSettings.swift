/// What a tokenizer file says about cutting long texts.
///
/// ``Tokenizer/encode(batch:addSpecialTokens:truncation:padding:)`` applies it; the parts that are cut off, of which
/// ``stride`` speaks, are not returned.
package struct TruncationSettings: Sendable, Equatable {
    package enum Side: String, Sendable { case left = "Left", right = "Right" }

    /// Which of two texts to cut.
    package enum Strategy: String, Sendable, CaseIterable {
        /// The longer one first, then both.
        case longestFirst = "LongestFirst"
        case onlyFirst = "OnlyFirst"
        case onlySecond = "OnlySecond"
    }

    /// The number of tokens to keep, special tokens included.
    package let maximumLength: Int
    /// How many tokens a part shares with the one before it.
    package let stride: Int
    package let strategy: Strategy
    /// The side to cut.
    package let side: Side

    init(from node: JSONNode) throws {
        try node.allow(only: "max_length", "stride", "strategy", "direction")
        maximumLength = try node.required("max_length").integer(in: 0...Int.max)
        stride = try node.optional("stride")?.integer(in: 0...Int.max) ?? 0
        strategy = try node.optional("strategy").map(Strategy.init(from:)) ?? .longestFirst
        side = try node.optional("direction").map(Side.init(from:)) ?? .right
    }
}

extension TruncationSettings.Strategy {
    init(from node: JSONNode) throws {
        guard let strategy = Self(rawValue: try node.string()) else {
            let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw node.error(.unsupported, "the strategy is not supported; supported: \(known)")
        }
        self = strategy
    }
}

extension TruncationSettings.Side {
    init(from node: JSONNode) throws {
        guard let side = Self(rawValue: try node.string()) else {
            throw node.error(.unsupported, "the direction must be Left or Right")
        }
        self = side
    }
}

/// What a tokenizer file says about filling short texts.
///
/// ``Tokenizer/encode(batch:addSpecialTokens:truncation:padding:)`` applies it.
package struct PaddingSettings: Sendable, Equatable {
    /// The length to fill to, or `nil` for that of the longest text of the batch.
    package let fixedLength: Int?
    /// The side to fill.
    package let side: TruncationSettings.Side
    /// A number that the length is rounded up to a multiple of.
    package let multiple: Int?
    package let padID: Int32
    package let padTypeID: Int32
    package let padToken: String

    /// As long as the longest contexts; a larger number in a file would ask for that much memory per text.
    private static let maximumLength = 1 << 20

    init(from node: JSONNode) throws {
        try node.allow(only: "strategy", "direction", "pad_to_multiple_of", "pad_id", "pad_type_id", "pad_token")
        let strategy = try node.required("strategy")
        switch strategy.value {
        case .string("BatchLongest"): fixedLength = nil
        case .object:
            try strategy.allow(only: "Fixed")
            fixedLength = try strategy.required("Fixed").integer(in: 0...Self.maximumLength)
        default: throw strategy.error(.unsupported, "the strategy must be \"BatchLongest\" or {\"Fixed\": n}")
        }
        side = try node.optional("direction").map(TruncationSettings.Side.init(from:)) ?? .right
        multiple = try node.optional("pad_to_multiple_of")?.integer(in: 0...Self.maximumLength)
        padID = try node.required("pad_id").tokenID()
        padTypeID = try node.optional("pad_type_id")?.tokenID() ?? 0
        padToken = try node.required("pad_token").string()
    }
}
