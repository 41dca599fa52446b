import Foundation
import PipelineSpec
import Tokenizers
import Training

/// Holds a version that was evaluated to the rules of its job's gate.
///
/// Everything is judged by paired comparison on the same examples, at the end of the confidence interval that speaks against
/// the new version: an improvement must be certain, and so must be that nothing got lost.
struct GateJudgement {
    let gate: JobManifest.Gate
    let report: EvaluationReport
    /// What every model made of every example, by set.
    let scores: [String: ExampleScores]
    /// The texts that were to be written, by set.
    let references: [String: [String?]]

    /// Reads what an evaluate stage left.
    init(_ gate: JobManifest.Gate, _ report: EvaluationReport, in output: URL, references: [String: [String?]] = [:])
        throws
    {
        self.gate = gate
        self.report = report
        self.references = references
        scores = Dictionary(
            uniqueKeysWithValues: try report.sets.map { ($0.name, try ExampleScores(of: $0.name, in: output)) })
    }

    func verdict() throws -> GateVerdict {
        func verdict(_ outcome: GateVerdict.Outcome, _ reason: String, _ checks: [GateVerdict.Check]) -> GateVerdict {
            GateVerdict(
                outcome: outcome, alias: gate.alias, champion: report.champion, reason: reason, checks: checks)
        }
        if let incomparable = report.incomparable {
            return verdict(.held, "\(incomparable), so the two cannot be compared", [])
        }
        var checks = [examples(), try improvement()]
        for set in report.sets.dropFirst() {
            let isRetention = set.name == EvaluationSet.retention
            let tolerance = isRetention ? gate.maxRegression["retention"] : gate.tolerance(forSuite: set.name)
            if let tolerance { checks.append(try regression(on: set, tolerance)) }
        }
        let failed = checks.filter { !$0.passed }
        guard failed.isEmpty else {
            return verdict(
                gate.onFail == .hold ? .held : .failed, failed.map(\.message).joined(separator: "; "), checks)
        }
        return verdict(.passed, checks.first { $0.rule == "improvement" }?.message ?? "", checks)
    }

    /// How the new version does on the test split beside what the alias points at and, where that is another one, the
    /// best it ever pointed at.
    func comparisons() throws -> [VersionComparison] {
        let metric = try MetricRegistry.metric(named: gate.metric.rawValue)
        return [(EvaluationRole.champion, report.champion), (.best, report.test.best)].compactMap { role, version in
            guard let version, let found = comparison(metric, report.test, role) else { return nil }
            return VersionComparison(
                version: version, isChampion: role == .champion, metric: metric.name, old: found.old, new: found.new,
                gain: found.gain.estimate, low: found.gain.low, high: found.gain.high, confidence: gate.confidence)
        }
    }

    // MARK: Rules

    private func examples() -> GateVerdict.Check {
        let count = report.test.examples
        let isEnough = count >= gate.minExamples
        return GateVerdict.Check(
            rule: "min_examples", passed: isEnough,
            message: isEnough
                ? "\(count) test examples" : "the test split has \(count) examples, and \(gate.minExamples) are wanted")
    }

    private func improvement() throws -> GateVerdict.Check {
        let metric = try MetricRegistry.metric(named: gate.metric.rawValue)
        guard let (role, name) = opponent(on: report.test, metric) else {
            return GateVerdict.Check(
                rule: "improvement", passed: true,
                message: "there is nothing to compare with yet, neither base nor version")
        }
        guard let comparison = comparison(metric, report.test, role) else {
            return GateVerdict.Check(
                rule: "improvement", passed: false, message: "\(metric.name) has no value on the test split")
        }
        let isShare: Bool
        let limit: Double
        switch gate.minImprovement {
        case .absolute(let value): (isShare, limit) = (false, value)
        case .share(let value): (isShare, limit) = (true, value)
        }
        guard let gain = isShare ? comparison.share : comparison.gain else {
            return GateVerdict.Check(
                rule: "improvement", passed: false,
                message:
                    "\(metric.name) of \(name) is 0, of which nothing is a share; write gate.min_improvement as a number"
            )
        }
        // What is not certainly better than nothing is no improvement.
        return check(
            "improvement", metric, comparison, gain, isShare: isShare, limit: limit, passed: gain.low > limit, name)
    }

    private func regression(on set: EvaluationReport.SetReport, _ tolerance: Double) throws -> GateVerdict.Check {
        let rule = set.name == EvaluationSet.retention ? set.name : "suite.\(set.name)"
        let metric = try MetricRegistry.metric(named: set.metrics[0])
        guard let (role, name) = opponent(on: set, metric) else {
            return GateVerdict.Check(rule: rule, passed: true, message: "\(rule): there is nothing to compare with yet")
        }
        guard let comparison = comparison(metric, set, role) else {
            return GateVerdict.Check(rule: rule, passed: false, message: "\(rule): \(metric.name) has no value")
        }
        // Where the old value is 0 and more is better, nothing can get lost.
        let gain = comparison.share ?? comparison.gain
        return check(
            rule, metric, comparison, gain, isShare: comparison.share != nil, limit: -tolerance,
            passed: gain.low >= -tolerance, name)
    }

    private func check(
        _ rule: String, _ metric: any Metric.Type, _ comparison: MetricComparison, _ gain: MetricComparison.Interval,
        isShare: Bool, limit: Double, passed: Bool, _ name: String
    ) -> GateVerdict.Check {
        func number(_ value: Double) -> String { String(format: "%.4g", value) }
        func amount(_ value: Double) -> String {
            String(format: isShare ? "%.2f%%" : "%.4g", isShare ? 100 * value : value)
        }
        // The interval in the direction of the word before it.
        let isWorse = gain.estimate < 0
        let (word, sign) = isWorse ? ("worse", -1.0) : ("better", 1.0)
        let ends = [sign * gain.low, sign * gain.high].sorted().map(amount).joined(separator: " to ")
        let place = rule == "improvement" ? "" : "\(rule): "
        var message =
            "\(place)\(metric.name) \(number(comparison.new)) against \(number(comparison.old)) of \(name), \(word) by "
            + "\(amount(sign * gain.estimate)) (\(ends) at \(Quantity.percent(gate.confidence)))"
        if !passed {
            let ending =
                if limit < 0 {
                    gain.estimate < limit
                        ? "at most \(amount(-limit)) is allowed"
                        : "it is not certain that it is worse by no more than the \(amount(-limit)) allowed"
                } else if limit > 0 {
                    gain.estimate > limit
                        ? "it is not certain that it is better by more than the \(amount(limit)) wanted"
                        : "more than \(amount(limit)) is wanted"
                } else if rule == "improvement" {
                    isWorse ? "an improvement is wanted" : "it is not certain that it is better"
                } else {
                    isWorse ? "no loss is allowed" : "it is not certain that nothing got lost"
                }
            message += "; " + ending
        }
        var check = GateVerdict.Check(rule: rule, passed: passed, message: message)
        (check.metric, check.against, check.old, check.new) = (metric.name, name, comparison.old, comparison.new)
        (check.gain, check.low, check.high, check.limit) = (gain.estimate, gain.low, gain.high, limit)
        return check
    }

    // MARK: Comparing

    /// Who is to be beaten on a set: the better one of production and of what was ever the best, else the base.
    private func opponent(on set: EvaluationReport.SetReport, _ metric: any Metric.Type) -> (EvaluationRole, String)? {
        func name(_ role: EvaluationRole) -> String {
            role == .base ? "the base" : "version \((role == .best ? set.best : report.champion) ?? 0)"
        }
        let versions = [EvaluationRole.champion, .best].compactMap { role in
            set.values[role]?[metric.name].map { (role, $0) }
        }
        let strongest = versions.dropFirst().reduce(versions.first) { old, new in
            old.map { metric.gain(from: $0.1, to: new.1) > 0 ? new : $0 }
        }
        if let strongest { return (strongest.0, name(strongest.0)) }
        return set.values[.base]?[metric.name].map { _ in (.base, name(.base)) }
    }

    private func comparison(
        _ metric: any Metric.Type, _ set: EvaluationReport.SetReport, _ role: EvaluationRole
    ) -> MetricComparison? {
        guard let columns = scores[set.name]?.columns, let old = columns[role], let new = columns[.trained] else {
            return nil
        }
        let references = references[set.name] ?? [String?](repeating: nil, count: old.count)
        func examples(_ scores: [ExampleScore]) -> [ScoredExample] {
            zip(scores, references).map { ScoredExample($0, reference: $1) }
        }
        return MetricComparison(
            metric, from: examples(old), to: examples(new), classes: set.classes, confidence: gate.confidence)
    }
}

/// A new version beside a published one, on the same test examples.
struct VersionComparison: Codable, Equatable {
    /// The published one.
    var version: Int
    /// Whether the alias pointed at it then; else it is the best that it ever pointed at.
    var isChampion: Bool
    var metric: String
    var old: Double
    var new: Double
    /// How much better the new one is, in the metric's units, with the ends of the confidence interval.
    var gain: Double
    var low: Double
    var high: Double
    var confidence: Double
}
