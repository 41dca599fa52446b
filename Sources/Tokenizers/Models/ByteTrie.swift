/// A fixed trie over byte strings as a double array: one addition and one comparison per byte.
///
/// After Aoe (1989), "An efficient digital search algorithm by using a double-array structure". The child of node `n`
/// for byte `b` is the unit at `base(n) + b`, if that unit names `n` as its parent.
final class ByteTrie: @unchecked Sendable {
    // Sendable holds: the memory is written in init only.

    struct Unit: BitwiseCopyable {
        var base: Int32 = 0
        /// The parent, or -1 for a free unit.
        var parent: Int32 = -1
        /// The id of the string that ends here, or -1.
        var id: Int32 = -1
    }

    /// The node of the empty string.
    static let root: Int32 = 0

    private let units: UnsafeMutablePointer<Unit>
    /// How many units there are, free ones included; a trie is as large as that.
    let unitCount: Int

    /// A trie of the entries; when a string occurs twice, the later id stands.
    init(_ entries: [(bytes: [UInt8], id: Int32)]) {
        // Sorting is stable here, so that the later of two equal strings comes later.
        let order = entries.indices.sorted {
            let (left, right) = (entries[$0].bytes, entries[$1].bytes)
            return left.lexicographicallyPrecedes(right) || left == right && $0 < $1
        }
        var builder = Builder(capacity: 1024)
        var pending: [(node: Int32, range: Range<Int>, depth: Int)] = [(Self.root, order.indices, 0)]
        var next = 0
        while next < pending.count {
            var (node, range, depth) = pending[next]
            next += 1
            // Strings that end at this node come first.
            while let first = range.first, entries[order[first]].bytes.count == depth {
                builder.units[Int(node)].id = entries[order[first]].id
                range = range.dropFirst()
            }
            var children: [(label: UInt8, range: Range<Int>)] = []
            for place in range {
                let label = entries[order[place]].bytes[depth]
                if let last = children.last, last.label == label {
                    children[children.count - 1].range = last.range.lowerBound..<place + 1
                } else {
                    children.append((label, place..<place + 1))
                }
            }
            guard !children.isEmpty else { continue }
            let base = builder.place(children.map(\.label), below: node)
            for child in children { pending.append((base + Int32(child.label), child.range, depth + 1)) }
        }
        unitCount = builder.units.count
        units = .allocate(capacity: unitCount)
        units.initialize(from: builder.units, count: builder.units.count)
    }

    deinit { units.deallocate() }

    /// The child of `node` for `byte`, or -1.
    @inline(__always)
    func child(of node: Int32, _ byte: UInt8) -> Int32 {
        let place = units[Int(node)].base + Int32(byte)
        return units[Int(place)].parent == node ? place : -1
    }

    /// The id of the string that leads to `node`, or -1.
    @inline(__always)
    func id(at node: Int32) -> Int32 { units[Int(node)].id }

    /// The node that `bytes` lead to from the root, or -1.
    func node(of bytes: some Sequence<UInt8>) -> Int32 {
        var node = Self.root
        for byte in bytes {
            node = child(of: node, byte)
            if node < 0 { return -1 }
        }
        return node
    }

    /// Finds room for children among those that are placed already.
    private struct Builder {
        var units: [Unit]
        // A base is at least 1, so below this there are units that no child can take.
        private var firstFree = 256
        /// Where several children are looked for: behind what is too dense for them, which is left to single ones.
        private var firstRoom = 256
        /// How many places may be tried before what lies between counts as too dense.
        private static let tries = 64

        init(capacity: Int) {
            units = [Unit](repeating: Unit(), count: capacity)
            // The root is its own parent's child of nothing; no unit may take its place.
            units[0].parent = Int32.max
        }

        /// Finds units for the children of `node`, marks them, and returns the base.
        mutating func place(_ labels: [UInt8], below node: Int32) -> Int32 {
            while firstFree < units.count, units[firstFree].parent >= 0 { firstFree += 1 }
            let start = (labels.count == 1 ? firstFree : max(firstFree, firstRoom)) - Int(labels[0])
            var base = start
            while !labels.allSatisfy({ isFree(base + Int($0)) }) { base += 1 }
            if labels.count > 1, base - start > Self.tries { firstRoom = base + Int(labels[0]) }
            // Every base may be asked for any byte.
            if base + 256 > units.count {
                units.append(contentsOf: repeatElement(Unit(), count: base + 256 - units.count))
            }
            for label in labels { units[base + Int(label)].parent = node }
            units[Int(node)].base = Int32(base)
            return Int32(base)
        }

        private func isFree(_ place: Int) -> Bool { place >= units.count || units[place].parent < 0 }
    }
}
