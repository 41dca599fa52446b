/// How a BPE model turns a piece of text into its first symbols.
struct BPEAlphabet: Sendable {
    private let prefix: [UInt8]
    private let suffix: [UInt8]
    private let unknownID: Int32?
    private let fusesUnknown: Bool
    /// The ids of `<0x00>` … `<0xFF>`, or `nil` where there is none; empty without byte fallback.
    private let fallback: [Int32?]
    /// The ids of the one-character tokens below U+0080; -1 where there is none.
    private let ascii: [Int32]
    /// In byte mode, the id of every byte, that of every byte at the end of a piece, and all tokens by the bytes they spell (only if whole pieces are looked up).
    private let byteIDs: [Int32]
    private let lastByteIDs: [Int32]
    private let spelled: ByteStringTable?

    /// Whether symbols are plain characters, alike at every place of a piece, and a mark is one of them.
    let isPlain: Bool

    init(from node: JSONNode, _ vocabulary: Vocabulary, prefix: String) throws {
        self.prefix = Array(prefix.utf8)
        suffix = Array(try node.optional("end_of_word_suffix")?.string().utf8 ?? "".utf8)
        fusesUnknown = try node.bool("fuse_unk", default: false)
        if try node.bool("byte_fallback", default: false) {
            fallback = vocabulary.byteTokenIDs
        } else {
            fallback = []
        }
        if let unknown = try node.optional("unk_token") {
            let name = try unknown.string()
            guard let id = vocabulary.id(of: name) else {
                throw unknown.error(.unknownToken, "the unknown token \"\(name)\" is not in the vocabulary")
            }
            unknownID = id
        } else {
            unknownID = nil
        }
        let isUniform = self.prefix.isEmpty && suffix.isEmpty
        ascii =
            isUniform
            ? (0..<128).map { vocabulary.id(of: String(Character(Unicode.Scalar(UInt8($0))))) ?? -1 } : []
        isPlain = isUniform && vocabulary.id(of: "\u{2581}") != nil
        byteIDs = []
        lastByteIDs = []
        spelled = nil
    }

    private init(bytes: [Int32], lastBytes: [Int32], spelled: ByteStringTable?) {
        prefix = []
        suffix = []
        unknownID = nil
        fusesUnknown = false
        fallback = []
        ascii = []
        isPlain = false
        byteIDs = bytes
        lastByteIDs = lastBytes
        self.spelled = spelled
    }

    /// The alphabet of the bytes that byte-level characters stand for; `nil` unless every byte has a token.
    func takingBytes(_ vocabulary: Vocabulary, wholePieces: Bool) -> BPEAlphabet? {
        guard prefix.isEmpty, suffix.isEmpty || !wholePieces else { return nil }
        let suffix = String(decoding: self.suffix, as: UTF8.self)
        func byteIDs(endingWith suffix: String) -> [Int32] {
            (0..<256).compactMap { vocabulary.id(of: ByteAlphabet.encoded(CollectionOfOne(UInt8($0))) + suffix) }
        }
        let ids = byteIDs(endingWith: "")
        let last = suffix.isEmpty ? ids : byteIDs(endingWith: suffix)
        guard ids.count == 256, last.count == 256 else { return nil }
        guard wholePieces else { return BPEAlphabet(bytes: ids, lastBytes: last, spelled: nil) }
        var entries: [(bytes: [UInt8], id: Int32)] = []
        entries.reserveCapacity(vocabulary.count)
        for token in vocabulary.tokens {
            guard let token, let id = vocabulary.id(of: token), let bytes = ByteAlphabet.decoded(token) else {
                continue
            }
            entries.append((bytes, id))
        }
        return BPEAlphabet(bytes: ids, lastBytes: last, spelled: ByteStringTable(entries))
    }

    /// The id of the token that is the whole piece, if there is one.
    func id(ofWhole piece: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary) -> Int32? {
        byteIDs.isEmpty ? vocabulary.id(of: piece) : spelled?[piece]
    }

    /// Appends the first symbols of a piece and their lengths in bytes.
    func appendSymbols(
        of piece: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary, to buffers: inout EncodingBuffers
    ) {
        if byteIDs.isEmpty { return appendCharacters(of: piece, vocabulary, to: &buffers) }
        byteIDs.withUnsafeBufferPointer { ids in
            for byte in piece {
                buffers.symbols.append(ids[Int(byte)])
                buffers.symbolLengths.append(1)
            }
        }
        if let last = piece.last { buffers.symbols[buffers.symbols.count - 1] = lastByteIDs[Int(last)] }
    }

    private func appendCharacters(
        of piece: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary, to buffers: inout EncodingBuffers
    ) {
        var unknownLength: Int32 = 0
        var index = 0
        while index < piece.count {
            let length = UTF8Reading.scalar(at: index, in: piece).length
            let bytes = UnsafeBufferPointer(rebasing: piece[index..<index + length])
            let isFirst = index == 0
            index += length
            let isLast = index == piece.count
            if let id = id(ofCharacter: bytes, isFirst: isFirst, isLast: isLast, vocabulary) {
                flush(&unknownLength, &buffers)
                buffers.symbols.append(id)
                buffers.symbolLengths.append(Int32(length))
                continue
            }
            // Unknown characters pending here come after these bytes, as in the original.
            if appendFallback(bytes, isFirst: isFirst, isLast: isLast, &buffers) { continue }
            if !fusesUnknown { flush(&unknownLength, &buffers) }
            unknownLength += Int32(length)
        }
        flush(&unknownLength, &buffers)
    }

    private func flush(_ unknownLength: inout Int32, _ buffers: inout EncodingBuffers) {
        guard unknownLength > 0, let unknownID else { return unknownLength = 0 }
        buffers.symbols.append(unknownID)
        buffers.symbolLengths.append(unknownLength)
        unknownLength = 0
    }

    private func id(
        ofCharacter bytes: UnsafeBufferPointer<UInt8>, isFirst: Bool, isLast: Bool, _ vocabulary: Vocabulary
    ) -> Int32? {
        if !ascii.isEmpty {
            guard bytes.count == 1 else { return vocabulary.id(of: bytes) }
            let id = bytes[0] < 0x80 ? ascii[Int(bytes[0])] : -1
            return id < 0 ? nil : id
        }
        return decorated(bytes, isFirst: isFirst, isLast: isLast).withUnsafeBufferPointer { vocabulary.id(of: $0) }
    }

    private func decorated(_ bytes: UnsafeBufferPointer<UInt8>, isFirst: Bool, isLast: Bool) -> [UInt8] {
        (isFirst ? [] : prefix) + bytes + (isLast ? suffix : [])
    }

    private func appendFallback(
        _ bytes: UnsafeBufferPointer<UInt8>, isFirst: Bool, isLast: Bool, _ buffers: inout EncodingBuffers
    ) -> Bool {
        guard !fallback.isEmpty else { return false }
        let spelling = decorated(bytes, isFirst: isFirst, isLast: isLast)
        guard spelling.allSatisfy({ fallback[Int($0)] != nil }) else { return false }
        for byte in spelling {
            buffers.symbols.append(fallback[Int(byte)]!)
            buffers.symbolLengths.append(1)
        }
        return true
    }
}
