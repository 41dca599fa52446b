extension Tokenizer {
    /// Encodes a batch, cut and filled to length.
    ///
    /// `truncation` and `padding` are the file's own where they are left out; pass `.some(nil)` for neither. Texts
    /// with a second one are pairs.
    ///
    /// - Throws: ``TokenizerError`` when a text cannot be made as short as the settings ask.
    package func encode(
        batch: [(first: String, second: String?)], addSpecialTokens: Bool,
        truncation: TruncationSettings?? = nil, padding: PaddingSettings?? = nil
    ) throws -> [Encoding] {
        let truncation = truncation ?? self.truncation
        var result = try batch.map { input in
            var texts = [tokens(of: input.first)]
            if let second = input.second { texts.append(tokens(of: second)) }
            if let truncation {
                let added = addSpecialTokens ? arrangement.addedCount(isPair: texts.count > 1) : 0
                try truncation.cut(&texts, reserving: added)
            }
            return arrange(texts, addSpecialTokens: addSpecialTokens)
        }
        (padding ?? self.padding)?.fill(&result)
        return result
    }
}

extension TruncationSettings {
    /// Cuts one or two texts so that they and `added` special tokens fit.
    func cut(_ texts: inout [Encoding], reserving added: Int) throws {
        guard maximumLength >= added else {
            throw TokenizerError(
                .invalidValue, "the maximum length \(maximumLength) leaves no room for \(added) special tokens")
        }
        let room = maximumLength - added
        let total = texts.reduce(0) { $0 + $1.ids.count }
        guard total > room else { return }
        let excess = total - room
        switch strategy {
        case .longestFirst where texts.count == 1: texts[0] = texts[0].kept(room, cutting: side)
        case .longestFirst:
            let lengths = Self.lengths(texts[0].ids.count, texts[1].ids.count, room: room)
            texts[0] = texts[0].kept(lengths.0, cutting: side)
            texts[1] = texts[1].kept(lengths.1, cutting: side)
        case .onlyFirst, .onlySecond:
            let index = strategy == .onlyFirst ? 0 : 1
            guard index < texts.count else {
                throw TokenizerError(.invalidValue, "only the second text may be cut, and there is none")
            }
            let length = texts[index].ids.count
            guard length > excess || room == 0 else {
                throw TokenizerError(
                    .invalidValue,
                    "\(total) tokens cannot be cut to \(room): the text to cut has only \(length) tokens")
            }
            texts[index] = texts[index].kept(max(0, length - excess), cutting: side)
        }
        // No room means no text at all, whatever the strategy.
        if room == 0 { texts = texts.map { $0.kept(0, cutting: side) } }
    }

    /// How long two texts may be: the shorter stays whole if it can, else each gets half, the second the odd token.
    private static func lengths(_ first: Int, _ second: Int, room: Int) -> (Int, Int) {
        var shorter = min(first, second)
        var longer = shorter > room ? shorter : max(shorter, room - shorter)
        if shorter + longer > room {
            shorter = room / 2
            longer = shorter + room % 2
        }
        return first > second ? (longer, shorter) : (shorter, longer)
    }
}

extension PaddingSettings {
    /// Fills every encoding to the length asked for.
    func fill(_ encodings: inout [Encoding]) {
        var length = fixedLength ?? encodings.map(\.ids.count).max() ?? 0
        if let multiple, multiple > 0, length % multiple > 0 { length += multiple - length % multiple }
        for index in encodings.indices where encodings[index].ids.count < length {
            var filling = Encoding()
            for _ in encodings[index].ids.count..<length {
                filling.append(id: padID, token: padToken, typeID: padTypeID, isText: false)
            }
            encodings[index] =
                side == .right ? encodings[index].followed(by: filling) : filling.followed(by: encodings[index])
        }
    }
}

extension Encoding {
    fileprivate func followed(by other: Encoding) -> Encoding {
        var result = self
        result.ids += other.ids
        result.tokens += other.tokens
        result.offsets += other.offsets
        result.typeIDs += other.typeIDs
        result.attentionMask += other.attentionMask
        return result
    }
}
