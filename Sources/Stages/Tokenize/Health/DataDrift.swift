import Foundation
package import PipelineSpec

/// How far a job's training data are from those of the version in production.
///
/// It depends on what is in production at the moment, so it is no part of the stage's output, which would not be the same
/// again otherwise: it stands in the attempt's metrics and log.
package struct DataDrift: Sendable, Equatable {
    /// The version that was compared with.
    package var version: Int
    /// By how much of itself the average length has changed; `nil` where one of them is unknown.
    package var length: Double?
    /// Half the sum of the differences between the shares of the classes (total variation): 0 for equal shares, 1 where no class
    /// is in both. `nil` where one of them names no classes, or too many.
    package var labels: Double?

    /// What the record of a version says of its data.
    private struct Record: Decodable {
        struct Split: Decodable {
            var sequences: Int
            var tokens: Int
        }
        var data: [String: Split]?
        var labels: [String: Int]?
    }

    /// - Returns: `nil` where nothing is in production, or its record does not speak of data.
    package init?(_ health: DataHealth, from champion: PinnedVersion?) {
        guard let champion,
            let data = FileManager.default.contents(atPath: champion.path + "/lorajobs.json"),
            let record = try? JSONDecoder().decode(Record.self, from: data)
        else { return nil }
        version = champion.number
        if let train = record.data?[SplitName.train.rawValue], train.sequences > 0, train.tokens > 0,
            health.meanLength > 0
        {
            length = abs(health.meanLength / (Double(train.tokens) / Double(train.sequences)) - 1)
        }
        if let before = record.labels { labels = Self.distance(health.labels, before) }
    }

    /// The total variation distance between two distributions given by counts.
    static func distance(_ one: [String: Int], _ other: [String: Int]) -> Double? {
        func total(_ counts: [String: Int]) -> Double { Double(counts.values.reduce(0, +)) }
        let (first, second) = (total(one), total(other))
        guard first > 0, second > 0, one.count < DataHealth.mostLabels, other.count < DataHealth.mostLabels else {
            return nil
        }
        // In a fixed order, so that the sum is the same each time.
        let names = Set(one.keys).union(other.keys).sorted()
        return names.reduce(0) { $0 + abs(Double(one[$1] ?? 0) / first - Double(other[$1] ?? 0) / second) } / 2
    }
}

extension DataHealth {
    /// Holds the figures to what `data.health` allows.
    ///
    /// - Throws: ``StageError`` `unhealthy_data` with each rule that is broken, its figure, and the first record that counts for
    ///   it, by file and line; never with what the record says.
    func check(_ rules: JobManifest.Health, _ drift: DataDrift?) throws {
        var broken: [String] = []
        func note(_ key: String, _ figure: Double, _ most: Double?, _ what: String) {
            guard let most, figure > most else { return }
            let place = first[key].map { "; the first is \($0)" } ?? ""
            broken.append(
                "data.health.\(key): \(Self.percent(figure)) of \(what); \(Quantity.percent(most)) are allowed\(place)")
        }
        note("max_duplicates", duplicates, rules.maxDuplicates, "the training records repeat an earlier one")
        note(
            "max_near_duplicates", nearDuplicates.share, rules.maxNearDuplicates,
            "the training records nearly repeat earlier ones")
        if let (split, worst) = overlap.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) {
            note("max_overlap", worst, rules.maxOverlap, "the \(split) records are trained on, in whole or by half")
        }
        if let most = rules.maxPersonal, personal.total > most {
            let place = first["max_personal"].map { "; the first is \($0)" } ?? ""
            broken.append(
                "data.health.max_personal: \(personal.mailAddresses) mail addresses, \(personal.phoneNumbers) phone numbers "
                    + "and \(personal.cardNumbers) card numbers are in the data; \(most) are allowed\(place)")
        }
        if let drift {
            if let length = drift.length, let most = rules.maxLengthDrift, length > most {
                broken.append(
                    "data.health.max_length_drift: examples have \(Self.decimal(meanLength)) tokens on average, "
                        + "\(Self.percent(length)) off version \(drift.version); \(Quantity.percent(most)) are allowed")
            }
            if let labels = drift.labels, let most = rules.maxLabelDrift, labels > most {
                broken.append(
                    "data.health.max_label_drift: the shares of the classes are \(Self.percent(labels)) off version "
                        + "\(drift.version); \(Quantity.percent(most)) are allowed")
            }
        }
        guard broken.isEmpty else { throw StageError("unhealthy_data", broken.joined(separator: ". ")) }
    }

    /// The figures for people, a line each.
    func lines(_ drift: DataDrift? = nil) -> [String] {
        var lines = [
            "\(Self.percent(duplicates)) of the training records repeat an earlier one, "
                + "\(Self.percent(nearDuplicates.share)) nearly do"
        ]
        for (split, share) in overlap.sorted(by: { $0.key < $1.key }) where share > 0 {
            lines.append("\(Self.percent(share)) of the \(split) records are trained on, in whole or by half")
        }
        if personal.total > 0 {
            lines.append(
                "looks personal: \(personal.mailAddresses) mail addresses, \(personal.phoneNumbers) phone numbers, "
                    + "\(personal.cardNumbers) card numbers")
        }
        if let drift {
            if let length = drift.length {
                lines.append("average length: \(Self.percent(length)) off version \(drift.version)")
            }
            if let labels = drift.labels {
                lines.append("shares of classes: \(Self.percent(labels)) off version \(drift.version)")
            }
        }
        if passagesComparedOneIn > 1 { lines.append("one passage in \(passagesComparedOneIn) was compared") }
        return lines
    }

    private static func percent(_ share: Double) -> String {
        share > 0 && share < 0.001 ? "<0.1%" : String(format: "%.1f%%", 100 * share)
    }

    private static func decimal(_ value: Double) -> String { String(format: "%.1f", value) }
}
