/// The part of a tokenizer that turns a piece of text into ids.
protocol TokenModel: Sendable {
    /// The tokens it can produce.
    var vocabulary: Vocabulary { get }

    /// Appends the ids of `piece`, and the byte length of each token if the buffers keep lengths.
    func tokenize(_ piece: UnsafeBufferPointer<UInt8>, into buffers: inout EncodingBuffers)

    /// The same model taking the bytes that byte-level characters stand for, or `nil` if it cannot.
    ///
    /// Lengths are then counted in those bytes.
    func takingBytes() -> (any TokenModel)?
}

extension TokenModel {
    func takingBytes() -> (any TokenModel)? { nil }
}

/// The kinds of model a tokenizer file may hold, one line each.
enum ModelRegistry {
    static let kinds: [String: @Sendable (JSONNode) throws -> any TokenModel] = [
        "BPE": { try BPEModel(from: $0) }
    ]

    /// The model at `node`.
    ///
    /// Files older than the "type" member are told by their members: only BPE has merges.
    static func model(from node: JSONNode) throws -> any TokenModel {
        if try node.optional("type") == nil, try node.optional("merges") != nil { return try BPEModel(from: node) }
        return try node.component("model", in: kinds)(node)
    }
}

/// The working memory of one call: output and scratch, reused by later calls.
struct EncodingBuffers: ~Copyable {
    /// The ids so far.
    var ids = GrowableBuffer<Int32>(capacity: 1024)
    /// The byte length of each token, parallel to ``ids`` when ``keepsLengths`` is set.
    var lengths = GrowableBuffer<Int32>(capacity: 1024)
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
}
