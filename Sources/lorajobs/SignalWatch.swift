import Dispatch
import Foundation
import PipelineSpec
import Synchronization

/// Calls back, on a queue of its own, when the process is asked to stop.
///
/// Children start with the usual handling.
final class SignalWatch {
    private static let pipe = Atomic<Int32>(-1)
    private let source: any DispatchSourceRead
    private let readEnd: Int32

    /// - Parameter handler: Called with the signal and how many have come so far, from 1.
    init(_ signals: [Int32], _ handler: @escaping @Sendable (_ signal: Int32, _ count: Int) -> Void) throws {
        var ends: [Int32] = [-1, -1]
        guard Foundation.pipe(&ends) == 0 else {
            throw CommandFailure(.ioError, "cannot make a pipe: \(String(cString: strerror(errno)))")
        }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        readEnd = ends[0]
        Self.pipe.store(ends[1], ordering: .releasing)
        let source = DispatchSource.makeReadSource(fileDescriptor: readEnd, queue: DispatchQueue(label: "signals"))
        let count = Mutex(0)
        let descriptor = readEnd
        source.setEventHandler {
            var byte: UInt8 = 0
            while read(descriptor, &byte, 1) == 1 {
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                handler(Int32(byte), number)
            }
        }
        source.setCancelHandler { close(descriptor) }
        self.source = source
        source.activate()
        for number in signals {
            // A handler, not SIG_IGN: what is ignored stays so in every child.
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(SignalWatch.pipe.load(ordering: .acquiring), &byte, 1)
            }
        }
    }

    deinit { source.cancel() }
}
