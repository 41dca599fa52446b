/// SentencePiece's unigram model: the cutting with the highest sum of scores, found with Viterbi's algorithm.
///
/// Kudo (2018), arXiv 1804.10959, in the order of operations of Hugging Face's `Unigram`: sums are double precision,
/// the first of two equal ones stands, a character without a token costs ten more than the worst token, and unknown
/// characters in a row are one token. Work and memory are proportional to the text times the longest token.
final class UnigramModel: TokenModel {
    let vocabulary: Vocabulary
    let textTokenID: Int32?
    private let trie: ByteTrie
    private let scores: [Double]
    private let unknownID: Int32
    private let unknownScore: Double
    /// The ids of `<0x00>` … `<0xFF>`, -1 where there is none; empty without byte fallback.
    private let fallback: [Int32]

    private static let unknownPenalty = 10.0

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "unk_id", "vocab", "byte_fallback")
        let entries = try Self.entries(of: try node.required("vocab"))
        scores = entries.map(\.score)
        vocabulary = Vocabulary(entries.enumerated().map { ($1.token, Int32($0)) })
        guard let unknown = try node.optional("unk_id") else {
            throw node.error(.unsupported, "a unigram model without unk_id cannot encode every text; name its id")
        }
        unknownID = Int32(try unknown.integer(in: 0...max(0, entries.count - 1)))
        guard !entries.isEmpty else { throw node.error(.invalidValue, "the vocabulary is empty") }
        unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
        trie = ByteTrie(vocabulary.byteEntries)
        textTokenID = unknownID
        fallback = try node.bool("byte_fallback", default: false) ? vocabulary.byteTokenIDs.map { $0 ?? -1 } : []
    }

    private static func entries(of node: JSONNode) throws -> [(token: String, score: Double)] {
        guard case .array(let elements) = node.value else {
            throw node.error(.invalidValue, "expected an array of tokens with scores, found \(node.value.kind)")
        }
        guard elements.count <= Vocabulary.maximumID else {
            throw node.error(.invalidValue, "\(elements.count) tokens are more than \(Vocabulary.maximumID)")
        }
        return try elements.enumerated().map { index, element in
            guard case .array(let pair) = element, pair.count == 2, case .string(let token) = pair[0],
                let score = pair[1].number
            else {
                throw TokenizerError(
                    .invalidValue, file: node.file, pointer: "\(node.pointer)/\(index)",
                    "expected a token and its score")
            }
            return (token, score)
        }
    }

    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers) {
        buffers.cached(piece) { buffers in
            guard !piece.isEmpty else { return }
            findBestPath(piece, &buffers)
            appendTokens(piece, &buffers)
        }
    }

    /// Fills `pathScores`, `previous` (where the best token that ends at a place starts, or -1) and `next` (its id).
    private func findBestPath(_ piece: UnsafeBufferPointer<UInt8>, _ buffers: inout EncodingBuffers) {
        let count = piece.count
        buffers.pathScores.resize(to: count + 1)
        buffers.previous.resize(to: count + 1)
        buffers.next.resize(to: count + 1)
        let best = buffers.pathScores.base
        let starts = buffers.previous.base
        let ids = buffers.next.base
        best[0] = 0
        starts.update(repeating: -1, count: count + 1)
        var steps = 0
        scores.withUnsafeBufferPointer { scores in
            var start = 0
            while start < count {
                let soFar = best[start]
                let length = UTF8Reading.scalar(at: start, in: piece).length
                var hasCharacter = false
                var node = ByteTrie.root
                var index = start
                while index < count {
                    node = trie.child(of: node, piece[index])
                    if node < 0 { break }
                    index += 1
                    let id = trie.id(at: node)
                    if id < 0 { continue }
                    let score = soFar + scores[Int(id)]
                    if starts[index] < 0 || score > best[index] {
                        best[index] = score
                        starts[index] = Int32(start)
                        ids[index] = id
                    }
                    if index - start == length { hasCharacter = true }
                }
                steps += index - start + 1
                if !hasCharacter {
                    let end = start + length
                    let score = soFar + unknownScore
                    if starts[end] < 0 || score > best[end] {
                        best[end] = score
                        starts[end] = Int32(start)
                        ids[end] = unknownID
                    }
                }
                start += length
            }
        }
        buffers.steps += steps
    }

    /// Reads the best path backwards, then turns it round.
    private func appendTokens(_ piece: UnsafeBufferPointer<UInt8>, _ buffers: inout EncodingBuffers) {
        var end = piece.count
        while end > 0 {
            var start = Int(buffers.previous[end])
            let id = buffers.next[end]
            if id == unknownID {
                while start > 0, buffers.next[start] == unknownID { start = Int(buffers.previous[start]) }
                appendUnknown(UnsafeBufferPointer(rebasing: piece[start..<end]), &buffers)
            } else {
                buffers.symbols.append(id)
                buffers.symbolLengths.append(Int32(end - start))
            }
            end = start
        }
        reverse(buffers.symbols.base, buffers.symbols.count)
        reverse(buffers.symbolLengths.base, buffers.symbolLengths.count)
    }

    /// Appends, in reverse, the tokens of unknown characters in a row.
    private func appendUnknown(_ text: UnsafeBufferPointer<UInt8>, _ buffers: inout EncodingBuffers) {
        // Together they may be a token that the best path passed by.
        if let id = vocabulary.id(of: text) {
            buffers.symbols.append(id)
            buffers.symbolLengths.append(Int32(text.count))
        } else if !fallback.isEmpty, text.allSatisfy({ fallback[Int($0)] >= 0 }) {
            for (index, byte) in text.enumerated().reversed() {
                buffers.symbols.append(fallback[Int(byte)])
                buffers.symbolLengths.append(index == 0 ? Int32(text.count) : EncodingBuffers.sameAsPrevious)
            }
        } else {
            buffers.symbols.append(unknownID)
            buffers.symbolLengths.append(Int32(text.count))
        }
    }

    private func reverse(_ base: UnsafeMutablePointer<Int32>, _ count: Int) {
        var low = 0
        var high = count - 1
        while low < high {
            (base[low], base[high]) = (base[high], base[low])
            low += 1
            high -= 1
        }
    }
}
