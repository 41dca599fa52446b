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

    /// Calls `body` with each state, in an order that is the same every time.
    private func visit(
        ignoring ignores: @escaping (Operation) -> Bool,
        _ body: (_ disk: Disk, _ state: CrashState, _ candidate: @autoclosure () -> Candidate, _ told: [Told]) throws
            -> Void
    ) throws {
        var disk = Disk(run.image, inodes: run.inodes, at: run.disk, ordering: ordering, ignoring: ignores)
        var told: [Told] = []
        let operations = run.recording.operations
        for moment in 0...operations.count {
            // Between two syncs, less and less is certain; what may be lost is largest just before one.
            let next = moment < operations.count ? operations[moment] : nil
            let isTurn = next.map { [.sync, .syncAll, .mark, .exit].contains($0.kind) } ?? true
            var states: [CrashState]
            if isTurn || isExhaustive {
                states = CrashState.interesting(disk, ordering: ordering)
                var generator = SeededGenerator(seed ^ UInt64(moment) << 20)
                for _ in 0..<randomStates {
                    states.append(.random(disk, ordering: ordering, using: &generator))
                }
            } else {
                states = [CrashState(lost: [])]
            }
            // A write of many bytes is one change of the model; within it, nothing new can be said.
            if next?.kind == .write, moment > 0, operations[moment - 1].kind == .write,
                operations[moment - 1].inode == next?.inode, !isExhaustive
            {
                states = []
            }
            for (ordinal, state) in states.enumerated() {
                try body(
                    disk, state,
                    Candidate(
                        moment: moment, ordinal: ordinal, digest: state.image(of: disk).digest, told: told.count,
                        isAllLost: ordinal == 0 && isTurn), told)
            }
            guard let next else { break }
            try disk.replay(next, id: moment)
            if let new = Told.told(by: next, seen: disk.seen, root: run.disk) { told.append(new) }
        }
    }

    /// Every state that differs from the others, each at the latest moment it may be found in: then most had been told.
    func candidates(ignoring ignores: @escaping (Operation) -> Bool = { _ in false }) throws -> [Candidate] {
        var latest: [UInt64: Candidate] = [:]
        try visit(ignoring: ignores) { _, _, candidate, _ in
            let candidate = candidate()
            latest[candidate.digest] = candidate
        }
        return latest.values.sorted { ($0.moment, $0.ordinal) < ($1.moment, $1.ordinal) }
    }

    /// Makes the disks of some candidates, and starts again on each.
    ///
    /// - Parameter limit: Ends after so many that break a promise.
    func tryEach(
        _ candidates: [Candidate], ignoring ignores: @escaping (Operation) -> Bool = { _ in false }, limit: Int = 5,
        withProgram: Bool = false
    ) async throws -> [Broken] {
        var wanted: [Int: [Int: (DiskImage, String, Set<Told>)?]] = [:]
        for candidate in candidates { wanted[candidate.moment, default: [:]][candidate.ordinal] = .some(nil) }
        // Images share what they have in common, so holding some of them costs little.
        try visit(ignoring: ignores) { disk, state, candidate, told in
            guard wanted.keys.contains(where: { _ in true }) else { return }
            let candidate = candidate()
            guard wanted[candidate.moment]?.keys.contains(candidate.ordinal) == true else { return }
            let before =
                candidate.moment == 0 ? "at the beginning" : "after \(run.words(candidate.moment - 1))"
            wanted[candidate.moment]?[candidate.ordinal] = (
                state.image(of: disk), "\(before) (\(candidate.moment)), \(state.describe(disk))", Set(told)
            )
        }
        var broken: [Broken] = []
        for candidate in candidates {
            guard case .some(.some(let (image, words, told))) = wanted[candidate.moment]?[candidate.ordinal] else {
                continue
            }
            let reasons = try await reasons(image, told, withProgram: withProgram)
            if !reasons.isEmpty {
                broken.append(Broken(description: "\(run.name): \(words)", reasons: reasons))
                if broken.count >= limit { return broken }
            }
        }
        return broken
    }

    /// What is broken after starting again on a disk.
    private func reasons(_ image: DiskImage, _ told: Set<Told>, withProgram: Bool) async throws -> [String] {
        try run.materialise(image)
        let promises = Promises(run: run, told: told)
        do {
            var reasons = try promises.brokenBefore()
            let recovery = Recovery(run: run)
            if withProgram {
                // People start a daemon in a workspace that is there.
                guard run.workspace.exists else { return reasons }
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
        let place = operation.text.hasPrefix(disk.path) ? operation.text.dropFirst(disk.path.count + 1) : "\(operation.text)"[...]
        return "\(operation.kind) \(place)"
    }
}
