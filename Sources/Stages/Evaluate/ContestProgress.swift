import PipelineSpec
import Training

/// How far a comparison of models has come: the share of all that it has to do, and when it will be done.
///
/// Work is counted in tokens that are scored. What is known from an earlier night is no work.
final class ContestProgress {
    /// Told the share that is done, 0…1, and the seconds that are left, once these can be told.
    private let report: (_ fraction: Double, _ seconds: Double?) -> Void
    private let clock: () -> Double
    private var expected = 0.0
    private var done = 0.0
    /// The size of what is being done, and how much of that is.
    private var part = 0.0
    private var share = 0.0
    private var began: Double?
    private var last = (fraction: 0.0, time: 0.0)
    /// Between two reports, in seconds: a line each is written and read.
    private static let pause = 0.5
    /// Loading the first model and writing the scores are not counted.
    private static let limits = (lower: 0.02, upper: 0.98)

    init(
        clock: @escaping () -> Double = { TrainingLimit.bootSeconds },
        report: @escaping (_ fraction: Double, _ seconds: Double?) -> Void
    ) {
        self.clock = clock
        self.report = report
    }

    /// The share that is done; it never goes back, also when there turns out to be more to do.
    var fraction: Double { max(last.fraction, present) }

    private var present: Double {
        let share = expected > 0 ? min(1, (done + part * share) / expected) : 0
        return Self.limits.lower + share * (Self.limits.upper - Self.limits.lower)
    }

    /// Says that there is so much more to do, or less.
    func expect(_ work: Double) { expected = max(0, expected + work) }

    /// Does a part, which says how far it has come with ``reach(_:)``.
    func doing<Value>(_ work: Double, _ body: () throws -> Value) rethrows -> Value {
        if began == nil { began = clock() }
        (part, share) = (work, 0)
        let value = try body()
        done += part
        (part, share) = (0, 0)
        tell()
        return value
    }

    /// Of what is being done, this share is done.
    func reach(_ share: Double) {
        self.share = max(self.share, min(1, share))
        if clock() - last.time >= Self.pause { tell() }
    }

    private func tell() {
        let now = clock()
        let worked = done + part * share
        var seconds: Double?
        if let began, worked > 0, now > began { seconds = (now - began) / worked * max(0, expected - worked) }
        last = (fraction, now)
        report(last.fraction, seconds)
    }
}
