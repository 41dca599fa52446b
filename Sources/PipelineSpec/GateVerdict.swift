/// What a gate said of a version: `gate` in its record.
package struct GateVerdict: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        /// The alias moves to the version.
        case passed
        /// The version is kept, and the alias stays.
        case failed
        /// The alias stays until a person promotes the version, or rejects it.
        case held
    }

    /// One condition and what came of it.
    package struct Check: Codable, Sendable, Equatable {
        /// `min_examples`, `improvement`, `retention` or `suite.NAME`.
        package var rule: String
        package var passed: Bool
        /// In a sentence.
        package var message: String
        package var metric: String?
        /// What it was measured against: `base`, or `version 4`.
        package var against: String?
        package var old: Double?
        package var new: Double?
        /// How much better the new one is, with the ends of the confidence interval; in the metric's units, or as a share
        /// where the rule is one.
        package var gain: Double?
        package var low: Double?
        package var high: Double?
        /// What the low end is held to.
        package var limit: Double?

        package init(rule: String, passed: Bool, message: String) {
            self.rule = rule
            self.passed = passed
            self.message = message
        }
    }

    package var outcome: Outcome
    package var alias: String
    /// What the alias pointed at when the version was compared with it; `nil` when it pointed nowhere.
    package var champion: Int?
    /// Why, in a sentence or two.
    package var reason: String
    package var checks: [Check]

    package init(outcome: Outcome, alias: String, champion: Int?, reason: String, checks: [Check] = []) {
        self.outcome = outcome
        self.alias = alias
        self.champion = champion
        self.reason = reason
        self.checks = checks
    }
}
