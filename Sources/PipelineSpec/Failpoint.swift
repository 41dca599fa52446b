import Foundation
import Synchronization

/// A place in the code where a test may stop the program, make it fail, or make it wait.
///
/// The points are part of every build and do nothing unless one is armed: by `LORAJOBS_FAILPOINTS` when the process
/// starts, or by ``withHandler(_:_:)`` inside a test. A point lies directly after the step its name tells. To add one, add
/// a case and write `try Failpoint.name.hit()` at its place; the crash suite fails until some case of it gets there.
package enum Failpoint: String, CaseIterable, Sendable {
    // Any file that appears whole or not at all; submit, receipts, requests and results among them.
    case fileWritten = "file.written"
    case fileFlushed = "file.flushed"
    case fileRenamed = "file.renamed"

    // A drop becomes a job.
    case intakeClaimed = "intake.claimed"
    case intakeClaimFlushed = "intake.claim_flushed"
    case intakeRead = "intake.read"
    case intakeJudged = "intake.judged"
    case intakeRecorded = "intake.recorded"
    case intakeReported = "intake.reported"
    case intakeMoved = "intake.moved"
    case intakeFiled = "intake.filed"

    // Every transaction of the queue: inside, before it is committed, and after.
    case queueCommitting = "queue.committing"
    case queueCommitted = "queue.committed"

    // An occurrence of a schedule, settled and committed.
    case scheduleFired = "schedule.fired"

    // An attempt at a stage.
    case jobStarted = "job.started"
    case attemptRecorded = "attempt.recorded"
    case attemptFolderMade = "attempt.folder_made"
    case attemptRequested = "attempt.requested"
    case attemptStarted = "attempt.started"
    case attemptNoted = "attempt.noted"
    case attemptEnded = "attempt.ended"
    case attemptSettled = "attempt.settled"

    // The process of a stage.
    case workerLocked = "worker.locked"
    case workerReady = "worker.ready"
    case workerStepped = "worker.stepped"
    case workerDone = "worker.done"
    case workerReported = "worker.reported"
    case checkpointAssembled = "checkpoint.assembled"
    case checkpointRenamed = "checkpoint.renamed"

    // What a stage made becomes a version and a cached output.
    case finalisePublished = "finalise.published"
    case finaliseCached = "finalise.cached"
    case blobWritten = "store.blob_written"
    case blobLinked = "store.blob_linked"
    case blobsFlushed = "store.blobs_flushed"
    case versionAssembled = "store.version_assembled"
    case versionFlushed = "store.version_flushed"
    case versionRenamed = "store.version_renamed"
    case versionSealed = "store.version_sealed"
    case versionLogged = "store.version_logged"
    case logWritten = "store.log_written"
    case aliasMade = "alias.made"
    case aliasRenamed = "alias.renamed"
    case aliasLogged = "alias.logged"
    case entryAssembled = "cache.entry_assembled"
    case entryFlushed = "cache.entry_flushed"
    case entryRenamed = "cache.entry_renamed"

    // A gate has decided: committed with the end of its job, followed by the store, and noted as followed.
    case decisionCommitted = "decision.committed"
    case decisionFollowed = "decision.followed"

    // A person moves an alias: committed, and followed as a gate's decision is.
    case moveRecorded = "move.recorded"

    // Somebody is told: the try is counted, and what came of it is known but not noted.
    case noticeBegun = "notice.begun"
    case noticeSent = "notice.sent"

    // A version that nothing needs is removed.
    case collectLogged = "collect.logged"
    case collectMoved = "collect.moved"

    /// Does what was asked for at this point, which outside a test is nothing and costs a load.
    ///
    /// - Throws: What the test wants to be thrown: ``FailpointReached``, or a ``SpecError`` with a system error.
    package func hit() throws {
        if isAnyoneInterested.load(ordering: .relaxed) != 0 { try reached() }
    }

    @inline(never) private func reached() throws {
        if let handler = Self.handler { try handler(self) }
        let orders = armed.withLock { $0 }
        try orders?.reached(self)
    }
}

/// What the action `throw` throws: an error that nobody can have thought of.
package struct FailpointReached: Error, CustomStringConvertible {
    package let point: Failpoint
    package init(_ point: Failpoint) { self.point = point }
    package var description: String { "the failpoint \(point.rawValue) was reached" }
}

/// Not zero while a point may have something to do.
private let isAnyoneInterested = Atomic<Int>(0)
/// What the environment asks for.
private let armed = Mutex<FailpointOrders?>(nil)

extension Failpoint {
    package typealias Handler = @Sendable (Failpoint) throws -> Void

    @TaskLocal private static var handler: Handler?

    /// Calls `handler` at every point that `body` gets to on its own task and the tasks that inherit from it; threads
    /// started by hand do not.
    package static func withHandler<Result>(_ handler: @escaping Handler, _ body: () throws -> Result) rethrows
        -> Result
    {
        isAnyoneInterested.add(1, ordering: .relaxed)
        defer { isAnyoneInterested.subtract(1, ordering: .relaxed) }
        return try $handler.withValue(handler, operation: body)
    }

    /// The same for what waits in between.
    package static func withHandler<Result>(_ handler: @escaping Handler, _ body: () async throws -> Result)
        async rethrows
        -> Result
    {
        isAnyoneInterested.add(1, ordering: .relaxed)
        defer { isAnyoneInterested.subtract(1, ordering: .relaxed) }
        return try await $handler.withValue(handler, operation: body)
    }

    /// Arms the points that `LORAJOBS_FAILPOINTS` names in this process, for as long as it lives.
    ///
    /// `intake.claimed=kill@2;store.blob_linked=enospc` kills the process at the second hit of the one and lets every hit
    /// of the other fail as if the disk were full. `@2+` means from the second on. The actions are `kill`, `stop` (as
    /// SIGSTOP), `throw`, `enospc`, `eio`, and `delay` for 300 ms or, as `delay:2000`, for so many.
    ///
    /// With `LORAJOBS_FAILPOINT_LOG` every hit is a line of that file, and hits are counted over all processes that
    /// write it: what is asked for at the first hit then happens once, however many processes come by.
    ///
    /// - Throws: ``SpecError`` with the code `key` when the text cannot be understood.
    package static func arm(_ environment: [String: String]) throws {
        let text = environment["LORAJOBS_FAILPOINTS"] ?? ""
        let log = environment["LORAJOBS_FAILPOINT_LOG"].flatMap { $0.isEmpty ? nil : $0 }
        guard !text.isEmpty || log != nil else { return }
        let orders = FailpointOrders(try FailpointOrder.list(text), log: log)
        armed.withLock { $0 = orders }
        isAnyoneInterested.add(1, ordering: .relaxed)
    }
}

/// What is to happen at one point, and at which hits.
struct FailpointOrder: Equatable {
    enum Action: Equatable {
        case kill, stop, fail
        case system(Int32)
        case delay(milliseconds: UInt32)
    }

    var point: Failpoint
    var action: Action
    /// Counted from 1.
    var first = 1
    var isRepeated = true

    func applies(to hit: Int) -> Bool { isRepeated ? hit >= first : hit == first }

    /// Reads the value of `LORAJOBS_FAILPOINTS`.
    static func list(_ text: String) throws -> [FailpointOrder] {
        try text.split(separator: ";").map { try FailpointOrder($0.trimmingCharacters(in: .whitespaces)) }
    }

    private init(_ text: String) throws {
        func wrong(_ what: String) -> SpecError {
            SpecError(
                .key,
                "LORAJOBS_FAILPOINTS: \(what) in \"\(PrintableText.line(text, limit: 80))\"; expected "
                    + "point=kill|stop|throw|enospc|eio|delay[:milliseconds], then @n for the n-th hit or @n+ from it on"
            )
        }
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw wrong("no action") }
        guard let point = Failpoint(rawValue: parts[0]) else { throw wrong("no point is called \(parts[0])") }
        self.point = point
        let order = parts[1].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let words = order[0].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        switch words[0] {
        case "kill": action = .kill
        case "stop": action = .stop
        case "throw": action = .fail
        case "enospc": action = .system(ENOSPC)
        case "eio": action = .system(EIO)
        case "delay":
            guard let milliseconds = words.count > 1 ? UInt32(words[1]) : 300, milliseconds <= 3_600_000 else {
                throw wrong("no number of milliseconds")
            }
            action = .delay(milliseconds: milliseconds)
        default: throw wrong("an unknown action")
        }
        guard words.count == 1 || words[0] == "delay" else { throw wrong("a value that \(words[0]) does not take") }
        if order.count > 1 {
            isRepeated = order[1].hasSuffix("+")
            guard let number = Int(isRepeated ? String(order[1].dropLast()) : order[1]), number > 0 else {
                throw wrong("no number of a hit")
            }
            first = number
        }
    }
}

/// What the environment of this process asks for, and what it has seen of it.
private final class FailpointOrders: Sendable {
    private let orders: [FailpointOrder]
    private let log: String?
    private let hits = Mutex<[Failpoint: Int]>([:])

    init(_ orders: [FailpointOrder], log: String?) {
        self.orders = orders
        self.log = log
    }

    func reached(_ point: Failpoint) throws {
        let count = hits.withLock { hits in
            hits[point, default: 0] += 1
            let own = hits[point] ?? 0
            // To count means to read it all, which would be felt where nothing is asked for.
            let isCounted = orders.contains { $0.point == point }
            return log.map { Self.append(point, to: $0, isCounted: isCounted) ?? own } ?? own
        }
        for order in orders where order.point == point && order.applies(to: count) { try order.carryOut() }
    }

    /// Writes a line, and says how many there are of the point now; `nil` when that is not asked, or the file cannot be
    /// used.
    private static func append(_ point: Failpoint, to log: String, isCounted: Bool) -> Int? {
        let descriptor = open(log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard flock(descriptor, LOCK_EX) == 0 else { return nil }
        let line = Array("\(point.rawValue) \(getpid())\n".utf8)
        guard Foundation.write(descriptor, line, line.count) == line.count, isCounted else { return nil }
        guard let data = FileManager.default.contents(atPath: log) else { return nil }
        let name = Array("\(point.rawValue) ".utf8)
        return data.split(separator: UInt8(ascii: "\n")).count { $0.starts(with: name) }
    }
}

extension FailpointOrder {
    fileprivate func carryOut() throws {
        switch action {
        case .kill:
            kill(getpid(), SIGKILL)
            while true { pause() }
        case .stop: kill(getpid(), SIGSTOP)
        case .fail: throw FailpointReached(point)
        case .system(let number):
            throw SpecError(
                .io, "the failpoint \(point.rawValue): \(String(cString: strerror(number)))", systemError: number)
        case .delay(let milliseconds): usleep(milliseconds * 1000)
        }
    }
}
