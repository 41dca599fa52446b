import Glibc
import Synchronization

/// What happens when the system refuses the memory for a tensor: the process ends, since no op can go on, but whoever
/// runs it may have the last word.
package enum MemoryExhaustion {
    private static let handler = Mutex<(@Sendable (_ byteCount: Int) -> Never)?>(nil)

    /// Sets what ends the process, told how many bytes were asked for.
    ///
    /// It runs on the thread that asked, when there is hardly any memory: it should give back some first.
    package static func whenExhausted(_ body: @escaping @Sendable (_ byteCount: Int) -> Never) {
        handler.withLock { $0 = body }
    }

    static func end(_ byteCount: Int) -> Never {
        if let body = handler.withLock({ $0 }) { body(byteCount) }
        fatalError("out of memory: \(byteCount) bytes were asked for and not given")
    }
}
