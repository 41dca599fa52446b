import Foundation
import Glibc
import PipelineSpec

/// When a training that may take only so long ends with what it has.
struct TrainingLimit {
    private let limit: StageLimit
    /// On `CLOCK_BOOTTIME`.
    private let begin: Double
    /// Seconds that writing the product takes.
    private let writing: Double

    /// - Parameters:
    ///   - begin: when the process took up the stage, on `CLOCK_BOOTTIME`.
    ///   - productBytes: what is written at the end.
    init(_ limit: StageLimit, since begin: Double, productBytes: Int) {
        (self.limit, self.begin) = (limit, begin)
        // A slow disk writes so much a second.
        writing = Double(productBytes) / 50e6
    }

    /// Whether a training that has done `step` steps is to end here, since what would come next takes `needed` seconds.
    func ends(after step: Int, needing needed: Double) -> Bool {
        if let last = limit.step { return step >= last }
        return left < needed + writing
    }

    /// Seconds that are left.
    var left: Double {
        let own = limit.seconds.map { $0 - (Self.now(CLOCK_BOOTTIME) - begin) } ?? .infinity
        let clock = limit.until.map { $0 - Self.now(CLOCK_REALTIME) } ?? .infinity
        return min(own, clock)
    }

    private static func now(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// Seconds on a clock that no setting moves and that goes on while the machine sleeps.
    static var bootSeconds: Double { now(CLOCK_BOOTTIME) }
}
