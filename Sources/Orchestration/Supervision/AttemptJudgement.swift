import Foundation
import Glibc
import PipelineSpec

/// What an attempt whose process is no more has come to: a pure function of what the process wrote, of how it ended and
/// of what it was asked, but for a look at the end of its log.
struct AttemptJudgement {
    let attempt: LiveAttempt
    let stage: StagePlan
    /// What the process said of itself.
    let result: StageResult?
    /// What was seen of it; `nil` when nobody saw it end.
    let end: WorkerEnd?
    /// Why it was stopped.
    let stop: StopCause?
    /// Whether the machine has run without a break since the attempt began.
    let isSameBoot: Bool

    /// How it ended, by what was seen, else by what it wrote.
    private var exit: ChildExit? { end?.exit ?? result.map { .code($0.exitCode) } }

    var exitCode: Int32? { if case .code(let code) = exit { code } else { nil } }
    var signal: Int32? { if case .signal(let number) = exit { number } else { nil } }

    enum Verdict: Sendable {
        /// There is a product to finalise.
        case done(StageResult)
        case ended(AttemptOutcome)
    }

    /// Done is done, even if it was asked to stop in its last moment.
    var verdict: Verdict {
        if let result, result.exitCode == WorkerExit.done.rawValue { return .done(result) }
        return .ended(outcome)
    }

    private var outcome: AttemptOutcome {
        switch stop {
        case .cancel: return .cancelled
        case .timeout:
            let limit = Int(stage.timeoutSeconds)
            return .failedForGood(
                .timeout,
                failure("timeout", "stopped after its time limit of \(limit) s; retry goes on from the checkpoint"),
                result)
        case .drain, .yield, .pause:
            // Not when it failed by itself in that moment.
            if hasStopped, let stop { return .stopped(stop, failure(stop.rawValue, Self.words(stop))) }
        case nil: break
        }
        if let memory { return .outOfMemory(memory, result) }
        return ended
    }

    /// What the crashes have in common that are the same crash; `nil` when it did not crash.
    var signature: String? {
        guard case .ended(.failedForNow(.crashed, _, _)) = verdict else { return nil }
        let how = signal.map { "signal \($0)" } ?? "exit code \(exitCode ?? -1)"
        let last = logTail.split(whereSeparator: \.isNewline).last(where: { !$0.allSatisfy(\.isWhitespace) }) ?? ""
        // Steps, addresses and times differ each time.
        let words = last.prefix(300).replacing(/0x[0-9a-fA-F]+|[0-9]+/, with: "#")
        return "\(stage.kind): \(how): \(words)"
    }

    /// Whether it ended as one that is stopped does.
    private var hasStopped: Bool {
        switch exit {
        case .code(WorkerExit.stopped.rawValue), .signal(SIGTERM), .signal(SIGKILL), .withdrawn, nil: true
        case .code, .signal: false
        }
    }

    private var ended: AttemptOutcome {
        let log = attempt.directory.log.path
        switch exit {
        case .code(WorkerExit.invalidInput.rawValue):
            return .failedForGood(
                .failed, result?.failure ?? failure("invalid_input", "the stage refused its input; see \(log)"), result)
        case .code(WorkerExit.tryAgain.rawValue):
            let own = result?.failure ?? failure("try_again", "the stage asked to be tried again; see \(log)")
            // Not the job's fault, and likely to last a while.
            if own.code == "no_space" { return .interrupted(.failed, own, pause: true) }
            return .failedForNow(.failed, own, result)
        case .code(WorkerExit.stopped.rawValue), .signal(SIGTERM):
            return .interrupted(.preempted, failure("stopped", "stopped from outside"), pause: true)
        case .withdrawn(let why): return .interrupted(.lost, failure("withdrawn", why), pause: true)
        case .signal(SIGKILL):
            // No program ends itself so, and it was not this one: somebody or something outside wanted it.
            return .interrupted(.crashed, failure("killed", "ended from outside by signal 9; see \(log)"), pause: true)
        case .code(let code):
            let text = code == 0 ? "ended without a result" : "crashed with exit code \(code)"
            return .failedForNow(.crashed, result?.failure ?? failure("crashed", "\(text); see \(log)"), result)
        case .signal(let number):
            return .failedForNow(.crashed, failure("crashed", "ended by signal \(number); see \(log)"), result)
        case nil:
            // It died while no daemon ran, or the machine did.
            let message = isSameBoot ? "ended without a result while no daemon watched" : "the machine was restarted"
            return .interrupted(
                isSameBoot ? .crashed : .lost, failure(isSameBoot ? "crashed" : "lost", message), pause: false)
        }
    }

    // MARK: Memory

    /// What is said when memory ran out; `nil` when it did not.
    private var memory: StageFailure? {
        let why: String
        if let own = result?.failure, own.code == StageFailure.outOfMemory {
            why = own.message
        } else if let evidence = end?.memoryEvidence {
            why = evidence
        } else if let signal, [SIGABRT, SIGILL, SIGTRAP, SIGSEGV].contains(signal), let line = refusedAllocation {
            why = "it could not go on without memory (\(line))"
        } else {
            return nil
        }
        let peak = result?.peakRSSBytes ?? end?.peakRSSBytes
        let facts = [
            peak.map { "used \(Self.mebibytes($0)) at most" }, end?.memoryLimit.map { "limit \(Self.mebibytes($0))" },
        ]
        let text = facts.compactMap { $0 }.joined(separator: ", ")
        return failure(StageFailure.outOfMemory, text.isEmpty ? why : "\(why); \(text)")
    }

    /// What a run-time library prints before it ends a process to which memory was refused.
    private var refusedAllocation: Substring? {
        logTail.split(whereSeparator: \.isNewline).last { line in
            ["bytes of memory", "out of memory", "std::bad_alloc", "Cannot allocate memory"]
                .contains { line.contains($0) }
        }?.prefix(200)
    }

    /// The last lines of the log.
    private var logTail: String {
        guard let handle = try? FileHandle(forReadingFrom: attempt.directory.log) else { return "" }
        defer { try? handle.close() }
        guard let size = try? handle.seekToEnd(), (try? handle.seek(toOffset: size > 4096 ? size - 4096 : 0)) != nil,
            let data = try? handle.readToEnd()
        else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    private static func mebibytes(_ bytes: Int64) -> String { "\(bytes >> 20) MiB" }

    private static func words(_ stop: StopCause) -> String {
        switch stop {
        case .drain: "stopped because the daemon ended; goes on from its checkpoint"
        case .yield: "stopped to give its cores back, as was asked; goes on from its checkpoint"
        case .pause: "paused; goes on from its checkpoint"
        case .timeout, .cancel: "stopped"
        }
    }

    private func failure(_ code: String, _ message: String) -> StageFailure {
        StageFailure(code: code, message: message)
    }
}

extension StageFailure {
    /// What a stage says, and the daemon, when memory ran out.
    static let outOfMemory = "out_of_memory"
}
