/// Finds equal records, within a split and across splits, in bounded memory.
///
/// It keeps the hashes of all records up to 4 million, which is exact but for 64-bit hashes that collide. Beyond that it keeps the
/// records whose hash ends in zero bits, twice as many bits each time, so equal records are kept or left out together,
/// and what is counted is multiplied. Splits go by the first bits of the hash, so both choices are independent.
struct RecordHashes {
    /// Hashes that are kept at most: 32 MiB of them.
    static let standardCapacity = 1 << 22

    private let capacity: Int
    /// One record in `1 << shift` is kept.
    private var shift = 0
    private var hashes: [SplitName: [UInt64]] = [:]
    private var count = 0

    init(capacity: Int = standardCapacity) { self.capacity = capacity }

    /// One record in so many was looked at.
    var sampledOneIn: Int { 1 << shift }

    mutating func insert(_ hash: UInt64, in split: SplitName) {
        guard isKept(hash) else { return }
        hashes[split, default: []].append(hash)
        count += 1
        while count > capacity, shift < 40 {
            shift += 1
            let mask: UInt64 = (1 << UInt64(shift)) - 1
            for split in hashes.keys { hashes[split]?.removeAll { $0 & mask != 0 } }
            count = hashes.values.reduce(0) { $0 + $1.count }
        }
    }

    private func isKept(_ hash: UInt64) -> Bool { hash & ((1 << UInt64(shift)) - 1) == 0 }

    /// Records of each split that repeat an earlier one of it, and records of validation and test that are also trained on.
    mutating func summary() -> (duplicates: [String: Int], overlap: [String: Int]) {
        for split in hashes.keys { hashes[split]?.sort() }
        let trained = hashes[.train] ?? []
        var duplicates: [String: Int] = [:], overlap: [String: Int] = [:]
        for (split, own) in hashes {
            duplicates[split.rawValue] = zip(own, own.dropFirst()).count { $0 == $1 } << shift
            guard split != .train else { continue }
            var position = 0
            var shared = 0
            for hash in own {
                while position < trained.count, trained[position] < hash { position += 1 }
                if position < trained.count, trained[position] == hash { shared += 1 }
            }
            overlap[split.rawValue] = shared << shift
        }
        return (duplicates, overlap)
    }
}
