/// The merges of a BPE model: (left id, right id) -> (rank, merged id), and the merging itself.
final class MergeTable: Sendable {
    private let table: PackedTable
    private let mergedIDs: [Int32]

    /// Pieces of more symbols than this are merged with a queue instead of repeated scans.
    private static let longPiece = 40

    /// Reads merges written as `"a b"` or `["a", "b"]`.
    ///
    /// `prefix` is the continuing_subword_prefix, which the right half loses.
    init(from node: JSONNode, _ vocabulary: Vocabulary, prefix: String) throws {
        guard case .array(let elements) = node.value else {
            throw node.error(.invalidValue, "expected an array of merges, found \(node.value.kind)")
        }
        let prefixLength = prefix.unicodeScalars.count
        var entries: [(key: UInt64, value: UInt64)] = []
        entries.reserveCapacity(elements.count)
        var mergedIDs: [Int32] = []
        mergedIDs.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() {
            func failure(_ code: TokenizerError.Code, _ message: String) -> TokenizerError {
                TokenizerError(code, file: node.file, pointer: "\(node.pointer)/\(index)", message)
            }
            let pair: (String, String)
            switch element {
            case .array(let halves):
                guard halves.count == 2, case .string(let left) = halves[0], case .string(let right) = halves[1] else {
                    throw failure(.invalidValue, "a merge must be two strings")
                }
                pair = (left, right)
            case .string(let text):
                if index == 0, text.utf8.starts(with: "#version".utf8) { continue }
                guard let halves = Self.halves(of: text) else {
                    throw failure(.invalidValue, "the merge \"\(text)\" must be two tokens with one space between")
                }
                pair = halves
            default: throw failure(.invalidValue, "a merge must be a string or a pair of strings")
            }
            func id(_ token: String) throws -> Int32 {
                guard let id = vocabulary.id(of: token) else {
                    throw failure(
                        .unknownToken,
                        "the merge of \"\(pair.0)\" and \"\(pair.1)\" needs the token \"\(token)\", "
                            + "which is not in the vocabulary")
                }
                return id
            }
            let left = try id(pair.0)
            let right = try id(pair.1)
            let merged = try id(
                prefixLength == 0
                    ? pair.0 + pair.1
                    : pair.0 + String(String.UnicodeScalarView(pair.1.unicodeScalars.dropFirst(prefixLength))))
            let rank = UInt64(entries.count)
            entries.append((Self.key(left, right), rank << 32 | UInt64(merged)))
            mergedIDs.append(merged)
        }
        table = PackedTable(entries)
        self.mergedIDs = mergedIDs
    }

    private static func halves(of text: String) -> (String, String)? {
        let utf8 = text.utf8
        guard let space = utf8.firstIndex(of: UInt8(ascii: " ")) else { return nil }
        let right = utf8[utf8.index(after: space)...]
        guard space != utf8.startIndex, !right.isEmpty, !right.contains(UInt8(ascii: " ")) else { return nil }
        return (String(text[..<space]), String(Substring(right)))
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// Whether no merged token has a mark (U+2581) after another character.
    ///
    /// Then the symbols on the two sides of such a border never meet, and a text may be merged word by word.
    func neverCrossesMark(_ vocabulary: Vocabulary) -> Bool {
        mergedIDs.allSatisfy { id in
            guard let token = vocabulary.token(of: id) else { return false }
            return !token.unicodeScalars.drop { $0 == "\u{2581}" }.contains("\u{2581}")
        }
    }

    /// Merges the symbols in the buffers until no merge applies, lowest rank first, leftmost first among equals.
    func merge(_ buffers: inout EncodingBuffers) {
        let count = buffers.symbols.count
        guard count > 1 else { return }
        buffers.merges.resize(to: count)
        let symbols = buffers.symbols.base
        let merges = buffers.merges.base
        for index in 0..<count - 1 { merges[index] = table[Self.key(symbols[index], symbols[index + 1])] }
        merges[count - 1] = PackedTable.missing
        if count <= Self.longPiece { mergeByScanning(&buffers) } else { mergeWithQueue(&buffers) }
    }

    private func mergeByScanning(_ buffers: inout EncodingBuffers) {
        var count = buffers.symbols.count
        let symbols = buffers.symbols.base
        let lengths = buffers.symbolLengths.base
        let merges = buffers.merges.base
        while count > 1 {
            var best = 0
            var bestMerge = merges[0]
            for index in 1..<count - 1 where merges[index] >> 32 < bestMerge >> 32 {
                best = index
                bestMerge = merges[index]
            }
            if bestMerge == PackedTable.missing { break }
            symbols[best] = Int32(truncatingIfNeeded: bestMerge)
            lengths[best] += lengths[best + 1]
            count -= 1
            for index in best + 1..<max(count, best + 1) {
                symbols[index] = symbols[index + 1]
                lengths[index] = lengths[index + 1]
                merges[index] = merges[index + 1]
            }
            merges[count - 1] = PackedTable.missing
            if best > 0 { merges[best - 1] = table[Self.key(symbols[best - 1], symbols[best])] }
            if best + 1 < count { merges[best] = table[Self.key(symbols[best], symbols[best + 1])] }
        }
        buffers.symbols.resize(to: count)
        buffers.symbolLengths.resize(to: count)
    }

    /// A linked list of symbols and a heap of candidate merges (rank, place); stale candidates are passed over.
    private func mergeWithQueue(_ buffers: inout EncodingBuffers) {
        let count = buffers.symbols.count
        buffers.previous.resize(to: count)
        buffers.next.resize(to: count)
        buffers.heap.removeAll()
        let symbols = buffers.symbols.base
        let lengths = buffers.symbolLengths.base
        let merges = buffers.merges.base
        let previous = buffers.previous.base
        let next = buffers.next.base
        for index in 0..<count {
            previous[index] = Int32(index - 1)
            next[index] = index + 1 < count ? Int32(index + 1) : -1
            if merges[index] != PackedTable.missing {
                buffers.heap.append(Self.candidate(merges[index], index))
            }
        }
        MinHeap.makeHeap(&buffers.heap)
        while let top = MinHeap.popMinimum(&buffers.heap) {
            buffers.steps += 1
            let place = Int(top & 0xFFFF_FFFF)
            let merge = merges[place]
            // A dead symbol or one whose neighbour changed has another merge now, or none.
            guard merge != PackedTable.missing, merge >> 32 == top >> 32 else { continue }
            let right = Int(next[place])
            symbols[place] = Int32(truncatingIfNeeded: merge)
            lengths[place] += lengths[right]
            lengths[right] = 0
            merges[right] = PackedTable.missing
            next[place] = next[right]
            merges[place] = PackedTable.missing
            if next[right] >= 0 {
                let after = Int(next[right])
                previous[after] = Int32(place)
                merges[place] = table[Self.key(symbols[place], symbols[after])]
                if merges[place] != PackedTable.missing {
                    MinHeap.push(Self.candidate(merges[place], place), &buffers.heap)
                }
            }
            if previous[place] >= 0 {
                let before = Int(previous[place])
                merges[before] = table[Self.key(symbols[before], symbols[place])]
                if merges[before] != PackedTable.missing {
                    MinHeap.push(Self.candidate(merges[before], before), &buffers.heap)
                }
            }
        }
        var written = 0
        var index = 0
        while index >= 0 {
            symbols[written] = symbols[index]
            lengths[written] = lengths[index]
            written += 1
            index = Int(next[index])
        }
        buffers.symbols.resize(to: written)
        buffers.symbolLengths.resize(to: written)
    }

    @inline(__always)
    private static func candidate(_ merge: UInt64, _ place: Int) -> UInt64 { (merge >> 32) << 32 | UInt64(place) }
}
