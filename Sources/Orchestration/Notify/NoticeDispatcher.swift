import Foundation
import Logging
import PipelineSpec

/// Tells whoever wants to know, beside everything else the daemon does: no job waits for it.
///
/// Each target has one request on the way at a time, so that a slow one delays nobody else. What cannot be delivered is
/// tried again at longer and longer intervals, by the next daemon if need be, and given up after the target's retries.
actor NoticeDispatcher {
    private let configuration: OrchestrationConfiguration
    private let queue: JobQueue
    private let sender: NoticeSender
    private let wakeup = Wakeup()
    private var underway: [String: Task<Void, Never>] = [:]
    /// Targets that do not answer, of which that was said: once, and not with each notice and each try.
    private var silent: Set<String> = []
    private var loop: Task<Void, Never>?

    /// The longest pause between two tries, in seconds.
    private static let longestPause = 3600.0

    init(_ configuration: OrchestrationConfiguration, _ queue: JobQueue, sender: NoticeSender = NoticeSender()) {
        self.configuration = configuration
        self.queue = queue
        self.sender = sender
    }

    /// Looks for notices now.
    nonisolated func signal() { wakeup.signal() }

    /// Begins to deliver, until ``stop()``.
    func start() {
        guard loop == nil else { return }
        loop = Task { await self.work() }
    }

    /// Ends what is under way; it is tried again by the next one.
    func stop() async {
        loop?.cancel()
        wakeup.signal()
        await loop?.value
        for task in underway.values { task.cancel() }
        for task in underway.values { await task.value }
    }

    /// Lets everything be tried once, for at most so many seconds, and ends then.
    func finish(within seconds: Double) async {
        let deadline = ContinuousClock.now + .seconds(seconds)
        start()
        do {
            while try queue.hasNotices(onlyUntried: true), ContinuousClock.now < deadline {
                wakeup.signal()
                try await Task.sleep(for: .milliseconds(20))
            }
            while !underway.isEmpty, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(20))
            }
        } catch {
            configuration.logger.error("notices stay behind", metadata: ["error": "\(error)"])
        }
        await stop()
    }

    private func work() async {
        var complaint = ""
        while !Task.isCancelled {
            var wait = 60.0
            do {
                if let next = try turn() { wait = min(wait, max(0.01, next.timeIntervalSinceNow)) }
                complaint = ""
            } catch  where OrchestrationError.endsDaemon(error) {
                // The daemon meets the same, and says so.
                return
            } catch {
                if "\(error)" != complaint {
                    configuration.logger.error("notices have to wait", metadata: ["error": "\(error)"])
                }
                complaint = "\(error)"
                wait = 1
            }
            await wakeup.wait(seconds: wait)
        }
    }

    /// Starts what is due; when to look again.
    private func turn() throws -> Date? {
        try queue.addressNotices(configuration.notify, place: configuration.workspace.root.lastPathComponent)
        let (due, next) = try queue.dueDeliveries()
        for delivery in due where underway[delivery.target] == nil {
            underway[delivery.target] = Task {
                await self.deliver(delivery)
                self.left(delivery.target)
            }
        }
        return next
    }

    private func left(_ target: String) {
        underway[target] = nil
        wakeup.signal()
    }

    private func deliver(_ delivery: NoticeDelivery) async {
        let tries = delivery.tries + 1
        let pause = min(Self.longestPause, configuration.noticePause * pow(2, Double(min(tries, 30) - 1)))
        do {
            try queue.beginDelivery(delivery, next: Date().addingTimeInterval(pause))
            try Failpoint.noticeBegun.hit()
            guard let target = configuration.notify[delivery.target] else {
                let text = "lorajobs.yaml defines no such target"
                try queue.noteDelivery(delivery, .failed, answer: text)
                return tell(delivery, .failed, text)
            }
            let answer = await sender.send(
                delivery.body, id: delivery.notice, event: delivery.event.rawValue, at: delivery.at, to: target)
            // Ended in the middle: whether it has arrived is not known.
            if Task.isCancelled, !answer.isDelivered { return }
            try Failpoint.noticeSent.hit()
            let state: NoticeDelivery.State =
                answer.isDelivered ? .delivered : tries > target.retries ? .failed : .pending
            try queue.noteDelivery(delivery, state, answer: answer.text)
            tell(delivery, state, answer.text)
        } catch {
            configuration.logger.error(
                "what came of a notice could not be noted; it is tried again",
                metadata: ["notice": "\(delivery.notice)", "target": "\(delivery.target)", "error": "\(error)"])
            // Without a note of it, the try is due at once: the same trouble would come again.
            try? await Task.sleep(for: .seconds(min(1, pause)))
        }
    }

    private func tell(_ delivery: NoticeDelivery, _ state: NoticeDelivery.State, _ answer: String) {
        let facts: Logger.Metadata = [
            "notice": "\(delivery.notice)", "target": "\(delivery.target)", "answer": "\(answer)",
        ]
        switch state {
        case .delivered:
            if silent.remove(delivery.target) != nil {
                configuration.logger.info("notices are delivered again", metadata: ["target": "\(delivery.target)"])
            }
            configuration.logger.debug("a notice was delivered", metadata: facts)
        case .pending:
            let level: Logger.Level = silent.insert(delivery.target).inserted ? .warning : .debug
            configuration.logger.log(level: level, "a notice could not be delivered yet", metadata: facts)
        case .failed:
            configuration.logger.error(
                "a notice was given up: lorajobs notify retry sends it again", metadata: facts)
        }
    }
}
