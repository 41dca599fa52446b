/// Finds equal records, within a split and across splits, in bounded memory.
///
/// It keeps the hashes of all records up to 4 million, which is exact but for 64-bit hashes that collide. Beyond that it keeps the
/// records whose hash ends in zero bits, twice as many bits each time, so equal records are kept or left out together,
/// and what is counted is multiplied. Splits go by the bits of another hash, so both choices are independent.
struct RecordHashes {
    /// Records that are kept at most: 64 MiB of hashes and places.
    static let standardCapacity = 1 << 22

    private struct Entry {
        var hash: UInt64
        /// Orders records: where it stands.
        var place: UInt64
    }

    /// What was found when all records were there.
    struct Summary {
        /// Records of each split that repeat an earlier one of it.
        var duplicates: [String: Int] = [:]
        /// Records of validation and test that are also trained on.
        var overlap: [String: Int] = [:]
        /// Where the first repetition in training stands, and the first record of each other split that is trained on.
        var firstDuplicate: UInt64?
        var firstOverlap: [SplitName: UInt64] = [:]
    }

    private let capacity: Int
    /// One record in `1 << shift` is kept.
    private var shift = 0
    private var entries: [SplitName: [Entry]] = [:]
    private var count = 0

    init(capacity: Int = standardCapacity) { self.capacity = capacity }

    /// One record in so many was looked at.
    var sampledOneIn: Int { 1 << shift }

    mutating func insert(_ hash: UInt64, at place: UInt64 = 0, in split: SplitName) {
        guard isKept(hash) else { return }
        entries[split, default: []].append(Entry(hash: hash, place: place))
        count += 1
        while count > capacity, shift < 40 {
            shift += 1
            let mask: UInt64 = (1 << UInt64(shift)) - 1
            for split in entries.keys { entries[split]?.removeAll { $0.hash & mask != 0 } }
            count = entries.values.reduce(0) { $0 + $1.count }
        }
    }

    private func isKept(_ hash: UInt64) -> Bool { hash & ((1 << UInt64(shift)) - 1) == 0 }

    /// Counts records that repeat others.
    mutating func summary() -> Summary {
        for split in entries.keys { entries[split]?.sort { ($0.hash, $0.place) < ($1.hash, $1.place) } }
        let trained = entries[.train] ?? []
        var summary = Summary()
        for (split, own) in entries {
            var repeated = 0
            for (one, next) in zip(own, own.dropFirst()) where one.hash == next.hash {
                repeated += 1
                if split == .train { summary.firstDuplicate = min(summary.firstDuplicate ?? .max, next.place) }
            }
            summary.duplicates[split.rawValue] = repeated << shift
            guard split != .train else { continue }
            var (position, shared) = (0, 0)
            for entry in own {
                while position < trained.count, trained[position].hash < entry.hash { position += 1 }
                guard position < trained.count, trained[position].hash == entry.hash else { continue }
                shared += 1
                summary.firstOverlap[split] = min(summary.firstOverlap[split] ?? .max, entry.place)
            }
            summary.overlap[split.rawValue] = shared << shift
        }
        return summary
    }
}
