/// The first 72 bytes of a dataset file, and where everything else lies.
///
/// All numbers are little-endian; every part begins at a multiple of 8 and gaps are zero, so the same sequences give
/// the same bytes:
///
///     0  8 bytes "LJTOKENS"       32  UInt64 tokens to be predicted
///     8  UInt32  version, 2       40  UInt64 tokens of the longest sequence
///    12  UInt32  flags            48  UInt64 smallest vocabulary that has every id
///    16  UInt64  sequences        56  UInt64 checksum of everything from byte 72 on
///    24  UInt64  tokens           64  UInt64 entries of a label
///    72  Int32   ids of all sequences, one after another; with flag 32, UInt8
///     …  UInt8   with flag 1: a bit a token, lowest first, whether predicting it counts; absent when all count
///     …  UInt64  the first token of each sequence, and the number of tokens
///     …  UInt8   with flag 16: which text of a pair each token belongs to, from 0
///     …  Int32   with flag 2: the class of each sequence, or -1
///     …  Float   with flag 4: the values of each sequence, or NaN
///     …  Int32   with flag 8: the class of each token, or -1
///
/// To be predicted are the tokens that count; of a sequence without any, what its label asks for.
struct TokenDatasetHeader: Sendable, Equatable {
    static let byteCount = 72
    static let magic = Array("LJTOKENS".utf8)
    static let version: UInt32 = 2
    private static let maskFlag: UInt32 = 1
    private static let typesFlag: UInt32 = 16
    private static let bytesFlag: UInt32 = 32

    var sequenceCount = 0
    var tokenCount = 0
    var targetCount = 0
    var longest = 0
    var vocabularySize = 0
    var hasMask = false
    var hasTypes = false
    /// Whether an id takes one byte.
    var areBytes = false
    var labels: SequenceLabelKind?
    /// Entries of a sequence's label; 1 for a class, and for the classes of tokens, of which each token has one.
    var labelWidth = 0
    var checksum: UInt64 = 0

    var idsOffset: Int { Self.byteCount }
    /// Bytes of an id.
    var idSize: Int { areBytes ? 1 : 4 }
    var maskOffset: Int { idsOffset + Self.padded(tokenCount * idSize) }
    var startsOffset: Int { maskOffset + (hasMask ? Self.padded((tokenCount + 7) / 8) : 0) }
    var typesOffset: Int { startsOffset + (sequenceCount + 1) * 8 }
    var labelsOffset: Int { typesOffset + (hasTypes ? Self.padded(tokenCount) : 0) }
    /// Entries of all labels.
    var labelCount: Int {
        switch labels {
        case nil: 0
        case .class, .values: sequenceCount * labelWidth
        case .tokens: tokenCount
        }
    }
    var fileByteCount: Int { labelsOffset + Self.padded(labelCount * 4) }

    static func padded(_ byteCount: Int) -> Int { (byteCount + 7) / 8 * 8 }

    init() {}

    /// Reads and checks the header of a file.
    init(_ bytes: UnsafeRawBufferPointer, path: String) throws {
        guard bytes.count >= Self.magic.count, bytes.prefix(Self.magic.count).elementsEqual(Self.magic) else {
            throw TrainingError(.malformed, "\(path): is not a tokenised dataset; it does not begin with LJTOKENS")
        }
        guard bytes.count >= Self.byteCount else {
            throw TrainingError(
                .truncated, "\(path): ends inside its header, after \(bytes.count) bytes; tokenise again")
        }
        func word(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        let version = word(8), flags = word(12)
        let kinds = SequenceLabelKind.allCases.filter { flags & $0.rawValue != 0 }
        let known = SequenceLabelKind.allCases.reduce(Self.maskFlag | Self.typesFlag | Self.bytesFlag) {
            $0 | $1.rawValue
        }
        guard version == Self.version, flags & ~known == 0, kinds.count <= 1 else {
            throw TrainingError(
                .unsupported,
                "\(path): dataset version \(version) with flags \(flags) is not known here; "
                    + "tokenise again with this build")
        }
        /// Counts above 2^48 would overflow the sizes below, and no disk holds them.
        func count(_ offset: Int) throws -> Int {
            let value = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            guard value < 1 << 48 else {
                throw TrainingError(
                    .malformed, "\(path): the header has an impossible count \(value) at byte \(offset)")
            }
            return Int(value)
        }
        hasMask = flags & Self.maskFlag != 0
        hasTypes = flags & Self.typesFlag != 0
        areBytes = flags & Self.bytesFlag != 0
        labels = kinds.first
        sequenceCount = try count(16)
        tokenCount = try count(24)
        targetCount = try count(32)
        longest = try count(40)
        vocabularySize = try count(48)
        checksum = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 56, as: UInt64.self))
        labelWidth = try count(64)
        let isWidthRight =
            labels == .values ? (1...1 << 14).contains(labelWidth) : labelWidth == (labels == nil ? 0 : 1)
        guard isWidthRight else {
            throw TrainingError(.malformed, "\(path): the header has labels of \(labelWidth) entries")
        }
        guard longest <= Int32.max else {
            throw TrainingError(.malformed, "\(path): the header has a sequence of \(longest) tokens")
        }
        guard bytes.count >= fileByteCount else {
            throw TrainingError(
                .truncated,
                "\(path): the file has \(bytes.count) bytes where its header promises \(fileByteCount); tokenise again")
        }
        guard bytes.count == fileByteCount else {
            throw TrainingError(
                .malformed, "\(path): \(bytes.count - fileByteCount) bytes follow the end that its header gives")
        }
    }

    /// The header as it is written.
    var bytes: [UInt8] {
        var result = Self.magic
        func append(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.littleEndian) { result.append(contentsOf: $0) }
        }
        append(Self.version)
        append(
            (hasMask ? Self.maskFlag : 0) | (hasTypes ? Self.typesFlag : 0) | (areBytes ? Self.bytesFlag : 0)
                | (labels?.rawValue ?? 0))
        for value in [sequenceCount, tokenCount, targetCount, longest, vocabularySize] { append(UInt64(value)) }
        append(checksum)
        append(UInt64(labelWidth))
        return result
    }
}
