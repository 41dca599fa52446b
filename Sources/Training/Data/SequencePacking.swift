/// Lays sequences together so that packs of a number of tokens are nearly full.
///
/// Best fit decreasing: from the longest to the shortest, each sequence goes to the pack in which it leaves the least
/// room, or begins a new one. It needs at most 11/9 of the packs that the best arrangement does (Johnson, 1973), and
/// with many short sequences hardly more than all tokens take.
enum SequencePacking {
    /// The packs in the order in which they were begun, each with its longest sequence first. A sequence that is longer
    /// than `capacity` is a pack by itself.
    ///
    /// - Complexity: O(sequences · capacity / 64) at worst.
    static func packs(_ sequences: some Collection<Int>, lengths: [Int32], capacity: Int) -> [[Int]] {
        precondition(capacity > 0, "SequencePacking: packs of \(capacity) tokens")
        // Equal lengths stay in the order given, so that it alone decides.
        let sorted = sequences.enumerated().sorted {
            let (a, b) = (lengths[$0.element], lengths[$1.element])
            return a == b ? $0.offset < $1.offset : a > b
        }
        var packs: [[Int]] = []
        var open = OpenPacks(capacity: capacity)
        for (_, sequence) in sorted {
            let length = Int(lengths[sequence])
            if let (pack, room) = open.takeFullest(with: length) {
                packs[pack].append(sequence)
                open.insert(pack, room: room - length)
            } else {
                packs.append([sequence])
                open.insert(packs.count - 1, room: capacity - length)
            }
        }
        return packs
    }

    /// Packs by the room that is left in them.
    private struct OpenPacks {
        private var packs: [[Int]]
        /// A bit for each room that some pack has.
        private var rooms: [UInt64]

        init(capacity: Int) {
            packs = Array(repeating: [], count: capacity + 1)
            rooms = Array(repeating: 0, count: capacity / 64 + 1)
        }

        mutating func insert(_ pack: Int, room: Int) {
            guard room > 0 else { return }
            packs[room].append(pack)
            rooms[room / 64] |= 1 << UInt64(room % 64)
        }

        /// Takes out the pack with the least room that is at least `length`, the one begun last among equals.
        mutating func takeFullest(with length: Int) -> (pack: Int, room: Int)? {
            guard length < packs.count else { return nil }
            var word = length / 64
            var bits = rooms[word] & ~0 << UInt64(length % 64)
            while bits == 0 {
                word += 1
                guard word < rooms.count else { return nil }
                bits = rooms[word]
            }
            let room = word * 64 + bits.trailingZeroBitCount
            let pack = packs[room].removeLast()
            if packs[room].isEmpty { rooms[word] &= ~(1 << UInt64(room % 64)) }
            return (pack, room)
        }
    }
}
