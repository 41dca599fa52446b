import Foundation

/// `Precompiled`: the character map that SentencePiece compiled into a model, such as nmt_nfkc.
///
/// Hugging Face applies it to each grapheme cluster shorter than six bytes, else to each scalar of the cluster. Its
/// bookkeeping of places is kept, too: what is dropped before any other character counts as not dropped, so the places
/// after it are those of earlier characters.
struct PrecompiledNormalizer: Normalizer {
    private let map: CharacterMap
    /// Whether each ASCII byte stays as it is.
    private let keepsASCII: [Bool]
    /// What each ASCII byte becomes, or `nil` when it stays.
    private let ascii: [[UInt8]?]

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "precompiled_charsmap")
        let text = try node.required("precompiled_charsmap")
        guard let data = Data(base64Encoded: try text.string()), let map = CharacterMap(Array(data)) else {
            throw text.error(.invalidValue, "the character map is not base64, or its sizes do not fit its content")
        }
        self.map = map
        ascii = (0..<128).map { (byte: UInt8) in
            withUnsafeBytes(of: byte) { raw in map.replacement(of: raw.bindMemory(to: UInt8.self)).map(Array.init) }
        }
        keepsASCII = ascii.map { $0 == nil }
    }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        keepsASCII.withUnsafeBufferPointer { keeps in
            // CR LF is one cluster, and a map might hold it.
            var last: UInt8 = 0
            for byte in utf8 {
                guard byte < 0x80, keeps[Int(byte)], !(byte == 0x0A && last == 0x0D) else { return false }
                last = byte
            }
            return true
        }
    }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            var replacer = Replacer(isTracking: output.isTracking)
            defer { replacer.finish(utf8, &output) }
            var index = 0
            while index < utf8.count {
                // Two ASCII characters are never one cluster, except CR LF.
                if utf8[index] < 0x80, utf8[index] != 0x0D, index + 1 == utf8.count || utf8[index + 1] < 0x80 {
                    if let new = ascii[Int(utf8[index])] {
                        new.withUnsafeBufferPointer {
                            replacer.replace(index..<index + 1, by: $0[...], utf8, &output)
                        }
                    } else {
                        replacer.keep(index..<index + 1, utf8, &output)
                    }
                    index += 1
                    continue
                }
                let end = clusterRunEnd(utf8, from: index)
                normalizeClusters(index..<end, utf8, &replacer, &output)
                index = end
            }
        }
    }

    /// The next place after `start` between two scalars that certainly are of different clusters.
    private func clusterRunEnd(_ utf8: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var (last, length) = UTF8Reading.scalar(at: start, in: utf8)
        var index = start + length
        while index < utf8.count {
            let (next, nextLength) = UTF8Reading.scalar(at: index, in: utf8)
            if Self.standsAlone(last), Self.standsAlone(next) { break }
            last = next
            length = nextLength
            index += length
        }
        return index
    }

    /// Whether the scalar joins neither the one before nor the one after: a letter or symbol of a simple script.
    private static func standsAlone(_ value: UInt32) -> Bool {
        switch value {
        case 0x20..<0x7F, 0xA0..<0xA9, 0xAA..<0xAD, 0xAF..<0x300, 0x370..<0x483, 0x48A..<0x530, 0x2010..<0x2028,
            0x2030..<0x203C, 0x3041..<0x3097, 0x30A0..<0x3100, 0x4E00..<0xA000:
            true
        default: false
        }
    }

    private func normalizeClusters(
        _ range: Range<Int>, _ utf8: UnsafeBufferPointer<UInt8>, _ replacer: inout Replacer,
        _ output: inout AlignedText.Rewriter
    ) {
        let first = UTF8Reading.scalar(at: range.lowerBound, in: utf8).length
        if first == range.count { return normalizeScalar(range, utf8, &replacer, &output) }
        var start = range.lowerBound
        for character in String(decoding: utf8[range], as: UTF8.self) {
            let end = start + character.utf8.count
            let cluster = UnsafeBufferPointer(rebasing: utf8[start..<end])
            if cluster.count < 6, let new = map.replacement(of: cluster) {
                replacer.replace(start..<end, by: new, utf8, &output)
            } else {
                var index = start
                while index < end {
                    let length = UTF8Reading.scalar(at: index, in: utf8).length
                    normalizeScalar(index..<index + length, utf8, &replacer, &output)
                    index += length
                }
            }
            start = end
        }
    }

    private func normalizeScalar(
        _ range: Range<Int>, _ utf8: UnsafeBufferPointer<UInt8>, _ replacer: inout Replacer,
        _ output: inout AlignedText.Rewriter
    ) {
        if let new = map.replacement(of: UnsafeBufferPointer(rebasing: utf8[range])) {
            replacer.replace(range, by: new, utf8, &output)
        } else {
            replacer.keep(range, utf8, &output)
        }
    }

    /// Writes replacements; with places, only at the end, since what is dropped changes the step before it.
    private struct Replacer {
        private let isTracking: Bool
        private var changes: [AlignedText.Change] = []

        init(isTracking: Bool) { self.isTracking = isTracking }

        mutating func keep(
            _ range: Range<Int>, _ utf8: UnsafeBufferPointer<UInt8>, _ output: inout AlignedText.Rewriter
        ) {
            guard isTracking else { return output.copy(range, of: utf8) }
            changes.append(.init(scalar: UTF8Reading.unicodeScalar(at: range.lowerBound, in: utf8).0, added: 0))
        }

        mutating func replace(
            _ range: Range<Int>, by new: some Collection<UInt8>, _ utf8: UnsafeBufferPointer<UInt8>,
            _ output: inout AlignedText.Rewriter
        ) {
            guard isTracking else { return output.insert(new, after: -1) }
            var oldCount = 0
            for byte in utf8[range] where !UTF8Reading.isContinuation(byte) { oldCount += 1 }
            var newCount = 0
            for scalar in String(decoding: new, as: UTF8.self).unicodeScalars {
                changes.append(.init(scalar: scalar, added: newCount < oldCount ? 0 : 1))
                newCount += 1
            }
            if newCount < oldCount, !changes.isEmpty { changes[changes.count - 1].added -= oldCount - newCount }
        }

        func finish(_ utf8: UnsafeBufferPointer<UInt8>, _ output: inout AlignedText.Rewriter) {
            if isTracking { output.apply(changes, to: utf8) }
        }
    }
}
