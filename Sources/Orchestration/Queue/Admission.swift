import Foundation

/// Which queued jobs may start: a pure function of what runs and what waits, used both to start jobs and to say
/// why one has not.
struct Admission {
    /// A queued job whose concurrency key is free for it.
    struct Candidate {
        var id: String
        var tenant: String
        var queue: String
        /// Its concurrency key.
        var key: String
        var threads: Int
        /// Bytes; `nil` when nobody knows, which counts as nothing.
        var memoryBytes: Int64?
        var priority: EffectivePriority
        var sequence: Int64
    }

    struct Queue {
        var isPaused = false
        /// When the quiet hours end in which it is.
        var quietUntil: Date?
        var maximumJobs: Int?
        /// Points for all of its jobs.
        var priority = 0
        var running = 0

        var isFull: Bool { maximumJobs.map { running >= $0 } ?? false }
    }

    private struct Slot: Hashable {
        var tenant: String
        var key: String
    }

    var capacity: Capacity
    var isDiskLow: Bool
    var queues: [String: Queue]
    /// What running jobs hold.
    var usedThreads = 0
    var usedMemoryBytes: Int64 = 0
    var runningJobs = 0

    /// Puts candidates in the order in which they go.
    ///
    /// - Parameter lines: For each tenant and queue its candidates, each line in its own order, which is kept; of the
    ///   first ones of all lines the one with the most points goes next, and of equal ones the one that came first.
    static func order(_ lines: [[Candidate]]) -> [Candidate] {
        var places = lines.map { _ in 0 }
        var ordered: [Candidate] = []
        while true {
            var best: (line: Int, candidate: Candidate)?
            for (line, place) in places.enumerated() where place < lines[line].count {
                let candidate = lines[line][place]
                if let best, !candidate.goes(before: best.candidate) { continue }
                best = (line, candidate)
            }
            guard let best else { return ordered }
            ordered.append(best.candidate)
            places[best.line] += 1
        }
    }

    /// For each candidate, in the order given: `nil` when it may start now, otherwise why not.
    ///
    /// The first job that does not fit keeps its place: what it needs is set aside for it, and those behind it get what
    /// is left, so that small jobs do not starve a large one. When it waits for cores that stops everybody, when it
    /// waits for memory all that need memory. One whose queue is paused or full, whose key is taken, or that can never
    /// fit, stops nobody.
    func decide(_ ordered: [Candidate]) -> [(job: Candidate, reason: WaitingReason?)] {
        var threads = capacity.threads - usedThreads
        var memory = capacity.memoryBytes.map { $0 - usedMemoryBytes }
        var queues = queues
        var isBlocked = false
        var keys: [Slot: String] = [:]
        return ordered.map { job in
            let queue = queues[job.queue] ?? Queue()
            if let reason = standstill(job.queue) { return (job, reason) }
            let slot = Slot(tenant: job.tenant, key: job.key)
            if let holder = keys[slot] { return (job, .concurrency(key: job.key, by: holder)) }
            if queue.isFull { return (job, .resources(.queue)) }
            if let reason = misfit(job.memoryBytes) { return (job, reason) }
            // A job that was accepted on a larger machine gets all there is.
            let wanted = min(job.threads, capacity.threads)
            let isShort: WaitingReason.Resource? =
                if wanted > threads { .cores } else if let free = memory, let need = job.memoryBytes, need > free {
                    .memory
                } else { nil }
            if isShort != nil, isBlocked { return (job, .priority) }
            threads = max(0, threads - wanted)
            memory = memory.map { max(0, $0 - (job.memoryBytes ?? 0)) }
            if let isShort {
                isBlocked = true
                return (job, .resources(isShort))
            }
            keys[slot] = job.id
            queues[job.queue, default: Queue()].running += 1
            return (job, nil)
        }
    }

    /// Why nothing of a queue starts, whatever is free.
    func standstill(_ queue: String) -> WaitingReason? {
        if queues[queue]?.isPaused == true { return .queuePaused }
        if let until = queues[queue]?.quietUntil { return .quiet(until: until) }
        return isDiskLow ? .diskLow : nil
    }

    /// Why a job that needs so much memory never starts.
    func misfit(_ memoryBytes: Int64?) -> WaitingReason? {
        guard let need = memoryBytes, let limit = capacity.memoryBytes, need > limit else { return nil }
        return .doesNotFit(needs: need, limit: limit)
    }
}

extension Admission.Candidate {
    fileprivate func goes(before other: Self) -> Bool {
        (priority.total, -sequence) > (other.priority.total, -other.sequence)
    }
}
