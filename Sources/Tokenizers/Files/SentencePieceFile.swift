import Foundation

/// A SentencePiece model: the message `ModelProto` of sentencepiece_model.proto, as far as encoding needs it.
struct SentencePieceFile {
    /// The type of a piece.
    enum PieceType: UInt64 {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    enum Algorithm: UInt64 {
        case unigram = 1
        case bpe = 2
        case word = 3
        case char = 4
    }

    struct Piece {
        var text = ""
        var score: Float = 0
        var type = PieceType.normal
    }

    private(set) var pieces: [Piece] = []
    private(set) var algorithm = Algorithm.unigram
    private(set) var unknownID = 0
    private(set) var unknownPiece = "<unk>"
    private(set) var hasByteFallback = false
    private(set) var characterMap: [UInt8] = []
    private var marksSpaceAtEnd = false
    private var escapesSpace = true

    /// Reads a model.
    ///
    /// - Throws: ``TokenizerError`` naming `file` when it is damaged or asks for what is not supported.
    init(_ data: [UInt8], file: String?) throws {
        do {
            var reader = ProtobufReader(data[...])
            while let (number, value) = try reader.next() {
                guard case .bytes(let bytes) = value else { continue }
                switch number {
                case 1: pieces.append(try Self.piece(bytes, index: pieces.count))
                case 2: try readTrainer(bytes)
                case 3: try readNormalizer(bytes)
                default: break
                }
            }
        } catch let error as ProtobufReader.Malformed {
            throw TokenizerError(.malformedModel, file: file, "is no SentencePiece model: \(error)")
        } catch let error as TokenizerError {
            throw TokenizerError(error.code, file: file, error.message)
        }
        func check(_ holds: Bool, _ message: String) throws {
            guard holds else { throw TokenizerError(.unsupported, file: file, message) }
        }
        guard !pieces.isEmpty, pieces.count <= Vocabulary.maximumID, pieces.indices.contains(unknownID) else {
            throw TokenizerError(
                .malformedModel, file: file,
                "is no SentencePiece model: it has \(pieces.count) pieces and the unknown piece is number \(unknownID)")
        }
        try check(!marksSpaceAtEnd, "marks of spaces at the end of words (treat_whitespace_as_suffix) are not supported")
        try check(escapesSpace, "a model that does not escape spaces (escape_whitespaces) is not supported")
        try check(
            algorithm == .unigram || algorithm == .bpe, "the model type \"\(algorithm)\" is not supported; "
                + "supported: unigram, bpe")
    }

    private static func piece(_ bytes: ArraySlice<UInt8>, index: Int) throws -> Piece {
        var piece = Piece()
        var reader = ProtobufReader(bytes)
        while let (number, value) = try reader.next() {
            switch (number, value) {
            case (1, .bytes(let text)): piece.text = try string(text)
            case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
            case (3, .varint(let raw)):
                guard let type = PieceType(rawValue: raw) else {
                    throw TokenizerError(.unsupported, "piece \(index) has the type \(raw), which is not known")
                }
                piece.type = type
            default: break
            }
        }
        guard piece.score.isFinite else { throw TokenizerError(.malformedModel, "the score of piece \(index) is no number") }
        return piece
    }

    private mutating func readTrainer(_ bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes)
        while let (number, value) = try reader.next() {
            switch (number, value) {
            case (3, .varint(let raw)):
                guard let algorithm = Algorithm(rawValue: raw) else {
                    throw TokenizerError(.unsupported, "the model type \(raw) is not known")
                }
                self.algorithm = algorithm
            case (24, .varint(let flag)): marksSpaceAtEnd = flag != 0
            case (35, .varint(let flag)): hasByteFallback = flag != 0
            // Negative numbers are ten bytes long; they mean that there is no such piece.
            case (40, .varint(let id)): unknownID = Int(exactly: id) ?? -1
            case (45, .bytes(let text)): unknownPiece = try Self.string(text)
            default: break
            }
        }
    }

    private mutating func readNormalizer(_ bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes)
        while let (number, value) = try reader.next() {
            switch (number, value) {
            case (2, .bytes(let map)): characterMap = Array(map)
            case (5, .varint(let flag)): escapesSpace = flag != 0
            default: break
            }
        }
    }

    private static func string(_ bytes: ArraySlice<UInt8>) throws -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw TokenizerError(.malformedModel, "a piece is not valid UTF-8")
        }
        return text
    }
}
