import PipelineSpec
import Tokenizers
import Training

/// The words of a text, and the tag of each.
enum TaggedFormat: RecordFormat {
    static let name = JobManifest.DataFormat.tagged
    static let shape = "tagged {tokens: [...], tags: [...]}"
    static let namesClasses = true

    static func recognise(_ fields: RecordFields) -> [String]? {
        guard let names = fields.names(of: "tokens", "tags") else { return nil }
        // Other records count tokens, or carry tags of their own.
        for part in ["tokens", "tags"] { guard case .array? = fields.value(part) else { return nil } }
        return names
    }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        var words: [String] = []
        for value in try list("tokens", fields) {
            guard case .string(let word) = value else {
                throw UnusableRecord(reason: "word \(words.count + 1) of \"tokens\" is not a string but \(value.kind)")
            }
            words.append(word)
        }
        var tags: [ClassLabel?] = []
        for value in try list("tags", fields) { tags.append(try tag(value)) }
        guard words.count == tags.count else {
            throw UnusableRecord(reason: "there are \(words.count) words and \(tags.count) tags")
        }
        return TaggedText(words: words, tags: tags)
    }

    /// A tag; `nil` for a word that is not to be judged, which is written as null or as a negative number.
    private static func tag(_ value: OrderedJSON) throws(UnusableRecord) -> ClassLabel? {
        switch value {
        case .null: return nil
        case .integer(let index) where index < 0: return nil
        default: return try ClassLabel(value)
        }
    }

    private static func list(_ part: String, _ fields: RecordFields) throws(UnusableRecord) -> [OrderedJSON] {
        guard let value = fields.value(part) else {
            throw UnusableRecord(reason: "the field \"\(fields.columns[part] ?? part)\" is missing")
        }
        guard case .array(let values) = value else {
            throw UnusableRecord(
                reason: "the field \"\(fields.name(of: part) ?? part)\" is not a list but \(value.kind)")
        }
        return values
    }
}

/// Words and their tags. The first token of a word is judged by the word's tag, the others are only read, as in the examples
/// of Hugging Face.
struct TaggedText: RecordContent {
    static let tasks: [JobManifest.Task] = [.tokenClassification]

    let words: [String]
    /// `nil` for a word that is not judged.
    let tags: [ClassLabel?]

    var identity: String {
        (words + tags.map { $0?.text ?? "\u{1D}" }).joined(separator: "\u{1E}")
    }

    var prose: String? { words.joined(separator: " ") }

    var labels: [ClassLabel] { tags.compactMap { $0 } }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        [try example(ofWords: words.count, encoder)]
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? {
        // The more words, the more tokens.
        var (fits, tooMany) = (0, words.count + 1)
        while tooMany - fits > 1 {
            let middle = (fits + tooMany) / 2
            if try example(ofWords: middle, encoder).ids.count <= encoder.maxLength {
                fits = middle
            } else {
                tooMany = middle
            }
        }
        return fits > 0 ? [try example(ofWords: fits, encoder)] : nil
    }

    private func example(ofWords count: Int, _ encoder: ExampleEncoder) throws -> EncodedExample {
        var text = ""
        var ends: [Int] = []
        var length = 0
        for (index, word) in words[..<count].enumerated() {
            text += index > 0 ? " " + word : word
            length += (index > 0 ? 1 : 0) + word.unicodeScalars.count
            ends.append(length)
        }
        let (ids, offsets) = try encoder.tokens(of: text)
        var indices = [Int32](repeating: -1, count: ids.count)
        // The word that holds a token's last character: a token may begin with the space before it.
        var (word, last) = (0, -1)
        for (place, range) in offsets.enumerated() where !range.isEmpty {
            while word < ends.count, ends[word] < range.upperBound { word += 1 }
            guard word < ends.count, word != last else { continue }
            last = word
            if let tag = tags[word] { indices[place] = Int32(try encoder.index(of: tag)) }
        }
        return EncodedExample(
            ids: ids, scored: [Bool](repeating: false, count: ids.count), label: .tokens(indices))
    }
}
