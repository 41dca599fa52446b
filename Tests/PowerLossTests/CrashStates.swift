import Foundation

/// One way a crash may leave a disk: which of the uncertain changes it has.
struct CrashState: Sendable {
    /// Indices into the pending changes.
    var lost: Set<Int>
    /// A write of which only the first bytes arrived.
    var torn: (index: Int, length: Int)?

    /// What a file system may tear a write at.
    static let sector = 512

    /// What the disk holds.
    func image(of disk: Disk) -> DiskImage {
        var image = disk.certain
        // Names that nobody made, as their making was lost: what is not there cannot be renamed.
        var unmade: Set<String> = []
        for (index, item) in disk.pending.enumerated() {
            var isLost = lost.contains(index)
            switch item.change {
            case .move(let from, let old, let to, let new, _):
                isLost = isLost || unmade.contains("\(from)/\(old)")
                if isLost { unmade.insert("\(to)/\(new)") } else { unmade.remove("\(to)/\(new)") }
            case .name(let folder, let name, _?):
                if isLost { unmade.insert("\(folder)/\(name)") } else { unmade.remove("\(folder)/\(name)") }
            default: break
            }
            if !isLost { image.apply(item.change, id: item.id, torn: torn?.index == index ? torn?.length : nil) }
        }
        return image
    }

    /// What was lost, in words.
    func describe(_ disk: Disk) -> String {
        let missing = lost.sorted().map { disk.pending[$0].description }
        let tear = torn.map { ["only \($0.length) bytes of: \(disk.pending[$0.index].description)"] } ?? []
        return missing.isEmpty && tear.isEmpty
            ? "nothing was lost" : "lost: " + (missing + tear).joined(separator: "; ")
    }

    /// The states that are most likely to show a mistake: all and nothing lost, all names without bytes and the reverse,
    /// each change lost alone, each kept alone, each file without its new bytes, each last write torn.
    ///
    /// - Parameter alone: Whether a change is to be lost and kept alone.
    static func interesting(
        _ disk: Disk, ordering: Disk.Ordering, alone: (Disk.Pending) -> Bool
    ) -> [CrashState] {
        let free = disk.pending.indices.filter { !disk.pending[$0].isCertain }
        let all = Set(free)
        let names = free.filter { disk.pending[$0].isName }
        let bytes = all.subtracting(names)
        var states = [CrashState(lost: all), CrashState(lost: []), CrashState(lost: bytes)]
        switch ordering {
        case .arbitrary:
            states.append(CrashState(lost: Set(names)))
            for index in free where alone(disk.pending[index]) {
                states.append(CrashState(lost: [index]))
                states.append(CrashState(lost: all.subtracting([index])))
            }
        case .journaled:
            for count in names.indices {
                let late = Set(names[count...])
                states.append(CrashState(lost: late))
                states.append(CrashState(lost: late.union(bytes)))
            }
            for index in bytes { states.append(CrashState(lost: [index])) }
        }
        var last: [Int: Int] = [:]
        for index in free where alone(disk.pending[index]) {
            if let file = disk.pending[index].change.file { last[file] = index }
        }
        for (file, index) in last.sorted(by: { $0.value < $1.value }) {
            states.append(CrashState(lost: all.filter { disk.pending[$0].change.file == file }))
            if case .write(_, _, let content) = disk.pending[index].change, content.count > sector {
                states.append(CrashState(lost: [], torn: (index, content.count / 2 / sector * sector)))
            }
        }
        return states
    }

    /// Any subset, and perhaps a torn write.
    static func random(
        _ disk: Disk, ordering: Disk.Ordering, using generator: inout some RandomNumberGenerator
    ) -> CrashState {
        let free = disk.pending.indices.filter { !disk.pending[$0].isCertain }
        let names = free.filter { disk.pending[$0].isName }
        var state = CrashState(lost: [])
        let share = Double.random(in: 0...1, using: &generator)
        for index in free where !disk.pending[index].isName || ordering == .arbitrary {
            if Double.random(in: 0..<1, using: &generator) < share { state.lost.insert(index) }
        }
        if ordering == .journaled { state.lost.formUnion(names[Int.random(in: 0...names.count, using: &generator)...]) }
        if let index = free.filter({ !state.lost.contains($0) }).randomElement(using: &generator),
            case .write(_, _, let content) = disk.pending[index].change, content.count > sector
        {
            state.torn = (index, Int.random(in: 0..<content.count / sector, using: &generator) * sector)
        }
        return state
    }
}

/// Random numbers that a seed repeats (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
