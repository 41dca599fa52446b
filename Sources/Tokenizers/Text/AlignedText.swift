/// Text under normalisation, with the place in the original that every byte came from.
///
/// Offsets of tokens are promised in the original text, so each rewriting step keeps, for every byte, the byte range
/// of the original it stands for. The rules for inserted and removed scalars are those of Hugging Face's
/// `NormalizedString`: a scalar that replaces one inherits its range, an inserted one that of the byte before it.
struct AlignedText {
    /// A byte range of the original text.
    struct Origin: BitwiseCopyable, Equatable {
        var start: Int32
        var end: Int32
    }

    private(set) var bytes: [UInt8]
    /// One entry per byte, or empty when no offsets are wanted.
    private(set) var origins: [Origin]
    /// Whether ``origins`` is kept.
    let tracksOrigins: Bool
    /// Where this segment starts in the original text.
    let base: Int32
    /// Whether the text begins where the original begins.
    let startsOriginal: Bool

    /// A copy of `utf8`.
    ///
    /// `origins` are given when an earlier step rewrote it; otherwise it lies at `base` unchanged.
    init(
        _ utf8: UnsafeBufferPointer<UInt8>, base: Int, origins: ArraySlice<Origin>? = nil, tracksOrigins: Bool,
        startsOriginal: Bool? = nil
    ) {
        bytes = Array(utf8)
        self.base = Int32(base)
        self.startsOriginal = startsOriginal ?? (base == 0)
        self.tracksOrigins = tracksOrigins
        self.origins = []
        guard tracksOrigins else { return }
        if let origins {
            self.origins = Array(origins)
            return
        }
        self.origins.reserveCapacity(utf8.count)
        var index = 0
        while index < utf8.count {
            let length = UTF8Reading.scalar(at: index, in: utf8).length
            let origin = Origin(start: Int32(base + index), end: Int32(base + index + length))
            self.origins.append(contentsOf: repeatElement(origin, count: length))
            index += length
        }
    }

    var isEmpty: Bool { bytes.isEmpty }

    /// Replaces the whole text by what `edit` writes while reading the old one.
    mutating func rewrite(_ edit: (UnsafeBufferPointer<UInt8>, inout Rewriter) -> Void) {
        var rewriter = Rewriter(source: origins, tracks: tracksOrigins, base: base)
        rewriter.bytes.reserveCapacity(bytes.count + bytes.count / 4)
        bytes.withUnsafeBufferPointer { edit($0, &rewriter) }
        bytes = rewriter.bytes
        origins = rewriter.origins
    }

    /// Replaces every scalar by some others, which stand for its place.
    mutating func rewriteScalars(_ map: (Unicode.Scalar) -> [Unicode.Scalar]) {
        rewrite { utf8, output in
            var index = 0
            while index < utf8.count {
                let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
                for mapped in map(scalar) { output.append(mapped, originOf: index) }
                index += length
            }
        }
    }

    /// Puts `prefix` before the text; it stands for the first scalar's origin.
    ///
    /// An empty text stays empty.
    mutating func prepend(_ prefix: String) {
        guard !bytes.isEmpty else { return }
        let added = Array(prefix.utf8)
        if tracksOrigins { origins.insert(contentsOf: repeatElement(origins[0], count: added.count), at: 0) }
        bytes.insert(contentsOf: added, at: 0)
    }

    /// A scalar of a new text: 1 if it was added, 0 if it replaces an old one, -n if n more old ones after that are gone.
    struct Change {
        var scalar: Unicode.Scalar
        var added: Int
    }

    /// Collects the new text of ``AlignedText/rewrite(_:)``.
    ///
    /// A scalar that is written stands for the place of an old one.
    struct Rewriter {
        fileprivate var bytes: [UInt8] = []
        fileprivate var origins: [Origin] = []
        fileprivate let source: [Origin]
        fileprivate let tracks: Bool
        fileprivate let base: Int32

        fileprivate init(source: [Origin], tracks: Bool, base: Int32) {
            self.source = source
            self.tracks = tracks
            self.base = base
        }

        /// Whether places are kept.
        var isTracking: Bool { tracks }

        /// How many bytes are written so far.
        var count: Int { bytes.count }

        /// Copies a range of the old text.
        mutating func copy(_ range: Range<Int>, of utf8: UnsafeBufferPointer<UInt8>) {
            bytes.append(contentsOf: utf8[range])
            if tracks { origins.append(contentsOf: source[range]) }
        }

        /// Writes `scalar` with the origin of the old byte at `index`.
        mutating func append(_ scalar: Unicode.Scalar, originOf index: Int) {
            appendBytes(UTF8.encode(scalar)!, origin: tracks ? source[index] : nil)
        }

        /// Writes one ASCII byte with the origin of the old byte at `index`.
        @inline(__always)
        mutating func append(ascii byte: UInt8, originOf index: Int) {
            bytes.append(byte)
            if tracks { origins.append(source[index]) }
        }

        /// Writes UTF-8 bytes with the origin of the old byte at `index`.
        mutating func append(utf8 text: UnsafeBufferPointer<UInt8>, originOf index: Int) {
            appendBytes(text, origin: tracks ? source[index] : nil)
        }

        /// Writes `text` as inserted after the old byte `index`; before the first byte it has an empty origin.
        mutating func insert(_ text: some Sequence<UInt8>, after index: Int) {
            let none = Origin(start: base, end: base)
            appendBytes(text, origin: tracks ? (index < 0 ? none : source[index]) : nil)
        }

        /// Writes the scalars of a whole text that were made from the old ones in order.
        mutating func apply(_ changes: [Change], to utf8: UnsafeBufferPointer<UInt8>) {
            var place = 0
            func skip(_ count: Int) {
                for _ in 0..<count where place < utf8.count {
                    place += UTF8Reading.scalar(at: place, in: utf8).length
                }
            }
            for change in changes {
                let bytes = UTF8.encode(change.scalar)!
                if change.added > 0 || place >= utf8.count {
                    insert(bytes, after: place - 1)
                } else {
                    appendBytes(bytes, origin: tracks ? source[place] : nil)
                    skip(1 - change.added)
                }
            }
        }

        private mutating func appendBytes(_ utf8: some Sequence<UInt8>, origin: Origin?) {
            let before = bytes.count
            bytes.append(contentsOf: utf8)
            if let origin { origins.append(contentsOf: repeatElement(origin, count: bytes.count - before)) }
        }
    }
}
