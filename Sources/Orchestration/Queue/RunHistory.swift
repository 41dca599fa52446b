/// How long the stages of a job took in its last runs, by name, in seconds.
package struct RunHistory: Sendable, Equatable {
    /// The mean of at most three runs.
    package var mean: [String: Double] = [:]
    /// The longest of them.
    package var longest: [String: Double] = [:]
    /// How many runs speak.
    package var runs = 0

    /// Nothing is known.
    package init() {}

    init(mean: [String: Double], longest: [String: Double], runs: Int) {
        (self.mean, self.longest, self.runs) = (mean, longest, runs)
    }
}

/// How long something will take, and how anybody knows.
package struct Expectation: Sendable, Equatable {
    package enum Source: Sendable, Equatable, CustomStringConvertible {
        /// What runs says so itself; what comes after it took so long before.
        case worker
        /// Equal jobs took so long.
        case history(runs: Int)
        /// Operations that were counted, at a speed that this machine has reached.
        case operations(gigaflops: Double)

        /// `from 3 earlier runs`
        package var description: String {
            switch self {
            case .worker: "from its own speed"
            case .history(let runs): "from \(runs) earlier run\(runs == 1 ? "" : "s")"
            case .operations(let speed):
                "from counted operations at \(speed < 10 ? "\((speed * 10).rounded() / 10)" : "\(Int(speed.rounded()))") GFLOP/s"
            }
        }

        /// A word for programs.
        package var word: String {
            switch self {
            case .worker: "worker"
            case .history: "history"
            case .operations: "operations"
            }
        }
    }

    package var seconds: Double
    package var source: Source

    package init(seconds: Double, source: Source) {
        self.seconds = seconds
        self.source = source
    }
}

/// A speed at which trainings of one size have run on this machine.
package struct MeasuredSpeed: Sendable, Equatable {
    /// 10⁹ operations a second.
    package var gigaflops: Double
    package var runs: Int
}
