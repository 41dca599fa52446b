import Foundation
import PipelineSpec

extension RunReport {
    /// One figure of how the data are, and what `data.health` allows of it.
    struct HealthFigure: Sendable, Equatable {
        /// Its name in `report.json`.
        var name: String
        /// For people.
        var title: String
        /// A share of 1, or a count; `nil` where it could not be found out.
        var value: Double?
        /// Most that is allowed; `nil` for no limit.
        var limit: Double?
        var isCount = false
        /// File and line of the first record that counts; never what it says.
        var first: String?

        var isExceeded: Bool {
            guard let value, let limit else { return false }
            return value > limit
        }
    }

    /// Reads what a tokenize stage found out about the data.
    ///
    /// - Parameters:
    ///   - health: The part of the stage's report; what an earlier version wrote has none.
    ///   - metrics: Of the attempt that judged the data. Drift depends on what was in production then, so it stands
    ///     there, and an output from the cache has none.
    static func health(
        _ health: JSONValue?, metrics: [String: Double], limits: JobManifest.Health
    ) -> [HealthFigure] {
        guard let health else { return [] }
        func first(_ rule: String) -> String? {
            guard case .string(let place)? = health["first"]?[rule] else { return nil }
            return place
        }
        func tally(_ value: JSONValue?) -> Double? {
            guard let judged = value?["judged"]?.double, let found = value?["found"]?.double else { return nil }
            return judged > 0 ? found / judged : 0
        }
        var figures = [
            HealthFigure(
                name: "duplicates", title: "training records that repeat an earlier one",
                value: health["duplicates"]?.double, limit: limits.maxDuplicates, first: first("max_duplicates")),
            HealthFigure(
                name: "near_duplicates", title: "training records that nearly repeat earlier ones",
                value: tally(health["nearDuplicates"]), limit: limits.maxNearDuplicates,
                first: first("max_near_duplicates")),
        ]
        if case .object(let splits)? = health["overlap"] {
            let worst = splits.values.compactMap(\.double).max()
            figures += splits.sorted { $0.key < $1.key }.map { split, share in
                // The place that is known is that of the first record of any split.
                HealthFigure(
                    name: "\(split)_overlap", title: "\(split) records that are trained on, in whole or by half",
                    value: share.double, limit: limits.maxOverlap,
                    first: share.double == worst ? first("max_overlap") : nil)
            }
        }
        let kinds = [
            ("mailAddresses", "mail_addresses", "mail addresses"), ("phoneNumbers", "phone_numbers", "phone numbers"),
            ("cardNumbers", "card_numbers", "card numbers"),
        ].map { member, name, title in
            HealthFigure(name: name, title: title, value: health["personal"]?[member]?.double, isCount: true)
        }
        let counts = kinds.compactMap(\.value)
        figures += kinds
        figures.append(
            HealthFigure(
                name: "personal", title: "of these in all", value: counts.isEmpty ? nil : counts.reduce(0, +),
                limit: limits.maxPersonal.map(Double.init), isCount: true, first: first("max_personal")))
        let drifts = [
            HealthFigure(
                name: "length_drift", title: "average length, off that of the version in production",
                value: metrics["length_drift"], limit: limits.maxLengthDrift),
            HealthFigure(
                name: "label_drift", title: "shares of the classes, off those of the version in production",
                value: metrics["label_drift"], limit: limits.maxLabelDrift),
        ]
        return figures + drifts.filter { $0.value != nil || $0.limit != nil }
    }

    /// The figures by name.
    var healthJSON: JSONValue {
        func number(_ value: Double?, _ figure: HealthFigure) -> JSONValue {
            value.map { figure.isCount ? .integer(Int($0)) : .number($0) } ?? .null
        }
        var members: [String: JSONValue] = [:]
        for figure in health {
            members[figure.name] = .object([
                "value": number(figure.value, figure), "limit": number(figure.limit, figure),
                "exceeded": .bool(figure.isExceeded), "first": figure.first.map { .string($0) } ?? .null,
            ])
        }
        return .object(members)
    }

    /// The figures as rows of the page: what, how much, what is allowed, and where the first is.
    var healthRows: [[String]] {
        health.map { figure in
            func text(_ value: Double) -> String {
                figure.isCount ? LineChart.number(value) : String(format: "%.1f%%", 100 * value)
            }
            let value = figure.value.map { value in
                !figure.isCount && value > 0 && value < 0.001 ? "<0.1%" : text(value)
            }
            let limit = figure.limit.map { figure.isCount ? LineChart.number($0) : Quantity.percent($0) }
            return [
                figure.title, value ?? "not known", limit ?? "", figure.isExceeded ? "above the limit" : "",
                figure.first ?? "",
            ]
        }
    }
}
