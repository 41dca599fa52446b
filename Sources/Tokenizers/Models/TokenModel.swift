/// The part of a tokenizer that turns a piece of text into ids.
protocol TokenModel: Sendable {
    /// The tokens it can produce.
    var vocabulary: Vocabulary { get }

    /// The id whose tokens are shown as the text they stand for, as the unknown token of a unigram model is.
    var textTokenID: Int32? { get }

    /// Appends the ids of `piece`, and the byte length of each token if the buffers keep lengths.
    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers)

    /// The same model taking the bytes that byte-level characters stand for, or `nil` if it cannot.
    ///
    /// Lengths are then counted in those bytes.
    func takingBytes() -> (any TokenModel)?
}

extension TokenModel {
    var textTokenID: Int32? { nil }
    func takingBytes() -> (any TokenModel)? { nil }
}

/// The kinds of model a tokenizer file may hold, one line each.
enum ModelRegistry {
    static let kinds: [String: @Sendable (JSONNode) throws -> any TokenModel] = [
        "BPE": { try BPEModel(from: $0) },
        "Unigram": { try UnigramModel(from: $0) },
        "WordLevel": { try WordLevelModel(from: $0) },
        "WordPiece": { try WordPieceModel(from: $0) },
    ]

    /// The model at `node`.
    ///
    /// Files older than the "type" member are told by their members: only BPE has merges, only a unigram model lists
    /// its tokens in an array, and only WordPiece limits the length of words.
    static func model(from node: JSONNode) throws -> any TokenModel {
        if try node.optional("type") == nil {
            if try node.optional("merges") != nil { return try BPEModel(from: node) }
            if case .array? = try node.optional("vocab")?.value { return try UnigramModel(from: node) }
            if try node.optional("max_input_chars_per_word") != nil { return try WordPieceModel(from: node) }
        }
        return try node.component("model", in: kinds)(node)
    }
}

/// The working memory of one call: output and scratch, reused by later calls.
struct EncodingBuffers: ~Copyable {
    /// The ids so far.
    var ids = GrowableBuffer<Int32>(capacity: 1024)
    /// The byte length of each token, parallel to ``ids`` when ``keepsLengths`` is set.
    var lengths = GrowableBuffer<Int32>(capacity: 1024)
    /// In ``lengths``: the token has the place of the one before it.
    static let sameAsPrevious: Int32 = -1
    /// Whether the caller wants ``lengths``.
    var keepsLengths = false
    /// What a model remembers of earlier pieces.
    var cache = PieceCache()
    /// The symbols of the piece being merged.
    var symbols = GrowableBuffer<Int32>()
    var symbolLengths = GrowableBuffer<Int32>()
    /// For each symbol, the merge it could make with the next one.
    var merges = GrowableBuffer<UInt64>()
    var previous = GrowableBuffer<Int32>()
    var next = GrowableBuffer<Int32>()
    var heap = GrowableBuffer<UInt64>()
    /// The score of the best way to each place of the piece.
    var pathScores = GrowableBuffer<Double>()
    /// How many elementary steps the models took so far, for tests of how work grows with the text.
    var steps = 0

    /// Appends the tokens of `piece`: remembered ones, or those that `compute` leaves in ``symbols`` and
    /// ``symbolLengths``.
    @inline(__always)
    mutating func cached(_ piece: UnsafeBufferPointer<UInt8>, _ compute: (inout EncodingBuffers) -> Void) {
        guard let base = piece.baseAddress else { return }
        let isCached = piece.count <= PieceCache.maximumPieceLength
        let hash = isCached ? ByteHash.hash(base, piece.count) : 0
        if isCached, cache.lookUp(piece, hash: hash, ids: &ids, lengths: &lengths, keepsLengths: keepsLengths) { return }
        symbols.removeAll()
        symbolLengths.removeAll()
        compute(&self)
        let count = symbols.count
        ids.append(from: symbols.base, count: count)
        if keepsLengths { lengths.append(from: symbolLengths.base, count: count) }
        if isCached {
            cache.insert(piece, hash: hash, ids: symbols.base, lengths: symbolLengths.base, count: count)
        }
    }
}
