import Training

/// What is read of the evaluation in a version's record; of one that an older program wrote, some is missing.
struct PastEvaluation: Decodable {
    var sets: [EvaluationReport.SetReport]?
    var champion: Int?
}

/// Which of the versions that an alias ever pointed at may be the best on a set, as their records say.
///
/// A record compares: the version itself, the champion and the best of its night were judged by the same examples. Values on
/// today's examples rank all that have one. Where two versions have no value there, the newest record that knows both says
/// which is better. Nobody sets a mark who lost to another one that still counts.
struct Mark {
    /// Most versions that are asked again for one set.
    static let most = 4

    /// Versions that may be the best: first what was measured on today's examples, then the newest.
    private let unbeaten: [Int]

    /// - Parameter past: The versions that count, and what their records say; a version without an evaluation is one of which
    ///   nothing is known.
    init(of set: EvaluationSet, by metric: any Metric.Type, among past: [(number: Int, evaluation: PastEvaluation?)])
        throws
    {
        try self.init(
            name: set.name, metric: metric, isOfToday: { set.isMeasured(metric, in: $0) }, among: past)
    }

    init(
        name: String, metric: any Metric.Type, isOfToday: (EvaluationReport.SetReport) -> Bool,
        among past: [(number: Int, evaluation: PastEvaluation?)]
    ) throws {
        let past = past.sorted { $0.number > $1.number }
        let counting = Set(past.map(\.number))
        let nights = past.compactMap { version in
            version.evaluation.flatMap { evaluation in
                evaluation.sets?.first { $0.name == name }.map {
                    (report: $0, versions: Self.versions(in: $0, of: version.number, evaluation, counting))
                }
            }
        }
        var today: [Int: Double] = [:]
        for night in nights where isOfToday(night.report) {
            for (number, values) in night.versions {
                if today[number] == nil, let value = values[metric.name] { today[number] = value }
            }
        }
        func losers(by metric: any Metric.Type, beside ranked: Set<Int>) -> Set<Int> {
            var losers: Set<Int> = []
            var settled: Set<Set<Int>> = []
            for night in nights {
                for (one, first) in night.versions {
                    for (other, second) in night.versions where one > other {
                        guard let new = first[metric.name], let old = second[metric.name],
                            !ranked.isSuperset(of: [one, other]), settled.insert([one, other]).inserted
                        else { continue }
                        losers.insert(metric.gain(from: old, to: new) >= 0 ? other : one)
                    }
                }
            }
            return losers
        }
        let first = today.max { one, other in
            let gain = metric.gain(from: one.value, to: other.value)
            return gain > 0 || gain == 0 && one.key < other.key
        }?.key
        let ranked = Set(today.keys)
        let beaten = losers(by: metric, beside: ranked).union(ranked.subtracting(first.map { [$0] } ?? []))
        // In a ring each has lost to another one.
        let left = beaten.isSuperset(of: counting) ? counting : counting.subtracting(beaten)
        // What was never measured so is looked for among those that lead by the loss, which is always measured.
        let loss = try MetricRegistry.metric(named: "loss")
        let weak = left.count > 1 ? losers(by: loss, beside: []) : []
        func rank(_ number: Int) -> (Int, Int, Int) {
            (number == first ? 0 : 1, weak.contains(number) ? 1 : 0, -number)
        }
        unbeaten = left.sorted { rank($0) < rank($1) }
    }

    /// The versions to ask beside the champion, which is asked anyway.
    func candidates(beside champion: Int?) -> [Int] { Array(unbeaten.filter { $0 != champion }.prefix(Self.most)) }

    /// The values of every version that a record has on its set.
    private static func versions(
        in report: EvaluationReport.SetReport, of number: Int, _ evaluation: PastEvaluation, _ counting: Set<Int>
    ) -> [Int: [String: Double]] {
        var versions = (report.others ?? [:]).filter { counting.contains($0.key) }
        for (role, owner) in [
            (EvaluationRole.best, report.best), (.champion, evaluation.champion), (.trained, number),
        ] {
            if let owner, counting.contains(owner), let values = report.values[role] { versions[owner] = values }
        }
        return versions
    }
}
