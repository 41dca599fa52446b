import Foundation

/// Maps values on several threads and hands the results on in the order of the values, with few of them in memory.
///
/// The thread that submits is one of them: it maps too while it waits for a result.
///
/// `@unchecked Sendable`: everything that changes is read and written under `lock`, but for what only the submitting
/// thread touches (`submitted`, `delivered`).
final class OrderedMap<Input: Sendable, Output: Sendable>: @unchecked Sendable {
    private let transform: @Sendable (Input) throws -> Output
    /// Values that are submitted and not yet delivered, at most.
    private let capacity: Int
    private let lock = NSCondition()
    private var waiting: [(index: Int, input: Input)] = []
    private var finished: [Int: Result<Output, any Error>] = [:]
    private var isClosed = false
    private var submitted = 0
    private var delivered = 0

    /// Runs `produce`, which submits values, and hands the results to `deliver` on the calling thread.
    ///
    /// - Throws: the first error in the order of the values, whichever thread met it; what `produce` throws comes after
    ///   the errors of all it has submitted.
    static func run(
        threads: Int, _ transform: @escaping @Sendable (Input) throws -> Output,
        deliver: (Output) throws -> Void, produce: (_ submit: (Input) throws -> Void) throws -> Void
    ) throws {
        let map = OrderedMap(threads: threads, transform)
        defer { map.close() }
        do {
            // `submit` delivers what is ready; nothing outlives this call.
            try withoutActuallyEscaping(deliver) { deliver in try produce { try map.submit($0, deliver) } }
        } catch let error as Failed {
            throw error.error
        } catch {
            do { try map.drain(deliver) } catch let earlier as Failed { throw earlier.error }
            throw error
        }
        do { try map.drain(deliver) } catch let error as Failed { throw error.error }
    }

    /// An error of a value or of its delivery: it is the first, and nothing behind it counts.
    private struct Failed: Error { let error: any Error }

    private init(threads: Int, _ transform: @escaping @Sendable (Input) throws -> Output) {
        self.transform = transform
        capacity = threads == 1 ? 1 : 2 * threads + 2
        for _ in 1..<max(threads, 1) {
            let thread = Thread { [self] in work() }
            // As much as the first thread has: templates and parsers are recursive.
            thread.stackSize = 8 << 20
            thread.start()
        }
    }

    private func close() {
        lock.lock()
        isClosed = true
        waiting = []
        lock.broadcast()
        lock.unlock()
    }

    private func submit(_ input: Input, _ deliver: (Output) throws -> Void) throws {
        lock.lock()
        waiting.append((submitted, input))
        submitted += 1
        lock.broadcast()
        lock.unlock()
        while submitted - delivered >= capacity { try deliverNext(deliver) }
    }

    private func drain(_ deliver: (Output) throws -> Void) throws {
        while delivered < submitted { try deliverNext(deliver) }
    }

    private func deliverNext(_ deliver: (Output) throws -> Void) throws {
        lock.lock()
        while finished[delivered] == nil {
            if waiting.isEmpty { lock.wait() } else { mapFirst() }
        }
        let result = finished.removeValue(forKey: delivered)
        lock.unlock()
        delivered += 1
        do {
            if let result { try deliver(result.get()) }
        } catch {
            throw Failed(error: error)
        }
    }

    private func work() {
        lock.lock()
        while !isClosed {
            if waiting.isEmpty { lock.wait() } else { mapFirst() }
        }
        lock.unlock()
    }

    /// Maps the first waiting value; called and left with the lock held, which is free meanwhile.
    private func mapFirst() {
        let (index, input) = waiting.removeFirst()
        lock.unlock()
        let result = Result { try transform(input) }
        lock.lock()
        finished[index] = result
        lock.broadcast()
    }
}
