import Foundation
import PipelineSpec

/// Enumerates the states that a power loss may leave of a recorded run, and tries each.
struct Explorer {
    let run: RecordedRun
    var ordering = Disk.Ordering.arbitrary
    /// Random subsets for each moment, beside the interesting ones.
    var randomStates = 0
    /// Every state at every moment, not only at those after which less can be lost.
    var isExhaustive = false
    var seed: UInt64 = 1

    /// A state to try.
    struct Candidate: Sendable {
        /// How many operations had been made.
        let moment: Int
        let ordinal: Int
        let digest: UInt64
        /// How much had been told.
        let told: Int
        let isAllLost: Bool
    }

    struct Broken: Sendable, CustomStringConvertible {
        let description: String
        let reasons: [String]
    }

    /// Calls `body` with each state, in an order that is the same every time, until it returns false.
    private func visit(
        ignoring ignores: @escaping (Operation) -> Bool,
        _ body: (_ disk: Disk, _ state: CrashState, _ candidate: Candidate, _ told: [Told]) async throws -> Bool
    ) async throws {
        var disk = Disk(run.image, inodes: run.inodes, at: run.disk, ordering: ordering, ignoring: ignores)
        var told: [Told] = []
        var lastTurn = 0
        let operations = run.recording.operations
        for moment in 0...operations.count {
            let next = moment < operations.count ? operations[moment] : nil
            for (ordinal, state) in states(disk, before: next, at: moment, lastTurn).enumerated() {
                let image = state.image(of: disk)
                let candidate = Candidate(
                    moment: moment, ordinal: ordinal, digest: image.digest, told: told.count,
                    isAllLost: state.lost.count == disk.pending.count)
                guard try await body(disk, state, candidate, told) else { return }
            }
            guard let next else { break }
            if Self.turns.contains(next.kind) { lastTurn = moment }
            try disk.replay(next, id: moment)
            if let new = Told.told(by: next, seen: disk.seen, root: run.disk) { told.append(new) }
        }
    }

    /// Between two of these, less and less is certain and nothing is told.
    private static let turns: Set<Operation.Kind> = [.sync, .syncAll, .mark, .exit]

    /// What is tried at a moment: everything possible, or what differs from what is tried at others.
    ///
    /// What may be lost is largest just before a sync. Each change is lost and kept alone before the first sync after it,
    /// before the one that makes it certain, and whenever something has been told.
    private func states(_ disk: Disk, before next: Operation?, at moment: Int, _ lastTurn: Int) -> [CrashState] {
        let operations = run.recording.operations
        let isTurn = next.map { Self.turns.contains($0.kind) } ?? true
        guard isTurn || isExhaustive else {
            // A run of writes is one change of the model; within it, nothing new can be said.
            let isWithin =
                next?.kind == .write && moment > 0 && operations[moment - 1].kind == .write
                && operations[moment - 1].inode == next?.inode
            return isWithin ? [] : [CrashState(lost: [])]
        }
        let isTold = next.map { $0.kind == .mark } ?? true
        let synced = next.flatMap { disk.synced(by: $0) }
        var states = CrashState.interesting(disk, ordering: ordering) { change in
            if isExhaustive { return true }
            if change.isIncidental { return false }
            return isTold || change.id > lastTurn || synced.map(change.owes.contains) ?? false
        }
        var generator = SeededGenerator(seed ^ UInt64(moment) << 20)
        for _ in 0..<randomStates { states.append(.random(disk, ordering: ordering, using: &generator)) }
        return states
    }

    /// Every state that differs from the others, each at the latest moment it may be found in: then most had been told.
    func candidates(ignoring ignores: @escaping (Operation) -> Bool = { _ in false }) async throws -> [Candidate] {
        var latest: [UInt64: Candidate] = [:]
        try await visit(ignoring: ignores) { _, _, candidate, _ in
            latest[candidate.digest] = candidate
            return true
        }
        return latest.values.sorted { ($0.moment, $0.ordinal) < ($1.moment, $1.ordinal) }
    }

    /// Makes the disks of some candidates, and starts again on each.
    ///
    /// - Parameters:
    ///   - limit: Ends after so many that break a promise.
    ///   - onState: Told after each how many have been tried.
    func tryEach(
        _ candidates: [Candidate], ignoring ignores: @escaping (Operation) -> Bool = { _ in false }, limit: Int = 5,
        withProgram: Bool = false, onState: (Int) -> Void = { _ in }
    ) async throws -> [Broken] {
        var wanted: [Int: Set<Int>] = [:]
        for candidate in candidates { wanted[candidate.moment, default: []].insert(candidate.ordinal) }
        var broken: [Broken] = []
        var left = candidates.count
        try await visit(ignoring: ignores) { disk, state, candidate, told in
            guard wanted[candidate.moment]?.contains(candidate.ordinal) == true else { return true }
            let reasons = try await reasons(state.image(of: disk), Set(told), withProgram: withProgram)
            if !reasons.isEmpty {
                let moment =
                    candidate.moment == 0 ? "at the beginning" : "after \(run.words(candidate.moment - 1))"
                let words = "\(run.name), operation \(candidate.moment), \(moment), \(state.describe(disk))"
                broken.append(Broken(description: words, reasons: reasons))
            }
            left -= 1
            onState(candidates.count - left)
            return left > 0 && broken.count < limit
        }
        return broken
    }

    /// What is broken after starting again on a disk.
    private func reasons(_ image: DiskImage, _ told: Set<Told>, withProgram: Bool) async throws -> [String] {
        try run.materialise(image)
        let promises = Promises(run: run, told: told, hasRealStages: withProgram)
        do {
            var reasons = try promises.brokenBefore()
            let recovery = Recovery(run: run)
            if withProgram {
                // People start a daemon in a workspace that is there.
                guard Workspace(root: run.workspace.root).exists else { return reasons }
                try await recovery.withProgram()
            } else {
                try await recovery.inProcess()
            }
            reasons += try promises.brokenAfter()
            return reasons
        } catch {
            return ["\(error)"]
        }
    }
}

extension RecordedRun {
    /// An operation in words.
    func words(_ index: Int) -> String {
        let operation = recording.operations[index]
        let place =
            operation.text.hasPrefix(disk.path)
            ? operation.text.dropFirst(disk.path.count + 1) : "\(operation.text)"[...]
        return "\(operation.kind) \(place)"
    }
}
