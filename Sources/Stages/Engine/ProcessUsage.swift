import Foundation
import Glibc

/// What this process has used so far.
package enum ProcessUsage {
    /// The largest resident set since the program began, from the kernel's `VmHWM`.
    ///
    /// `ru_maxrss` would not do: it begins with the size of whoever forked this process.
    package static var peakRSSBytes: Int64 {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({
                Int64($0)
            })
        else { return 0 }
        return kilobytes * 1024
    }

    /// Processor time of all threads, in seconds.
    package static var cpuSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
