package import Foundation

/// What `schedule:` says: when a job recurs, and what becomes of the times that were missed.
package struct ScheduleDefinition: Sendable, Equatable {
    /// What happens to occurrences that passed while nothing ran.
    package enum CatchUp: String, Sendable, CaseIterable {
        /// They are recorded as missed.
        case none
        /// The newest makes a job, the others are recorded as missed.
        case latest
        /// Each makes a job, from the oldest to the newest.
        case all
    }

    package var cron: CronExpression
    package var timeZone: TimeZone
    package var catchUp: CatchUp
    /// An occurrence that is later than this is missed, whatever ``catchUp`` says; in seconds.
    package var maxLatenessSeconds: Double
    package var isEnabled: Bool

    /// The keys below `schedule`, in the order of the documentation.
    package static let members: [ValueConstraint.Member] = [
        .init(
            "cron", .cron, .null,
            "When, as minute, hour, day of month, month and day of week; `schedule: \"30 2 * * *\"` is short for it."),
        .init(
            "time_zone", .timeZone, .string("local"),
            "Whose clock: a name such as `Europe/Berlin`, or `local` for the machine's."),
        .init(
            "catch_up", .choice(CatchUp.allCases.map(\.rawValue)), .string(CatchUp.latest.rawValue),
            "Which of the times that passed while no daemon ran still make a job."),
        .init(
            "max_lateness", .duration(60...31_536_000), .string("24h"),
            "What is later than this is missed and makes no job."),
        .init("enabled", .boolean, .bool(true), "Whether it fires at all."),
    ]

    /// ``members`` as JSON Schema.
    static var jsonSchema: JSONValue {
        let properties = members.map { member in
            var schema = member.constraint.jsonSchema
            schema["description"] = .string(member.documentation)
            if member.key != "cron" { schema["default"] = member.defaultValue }
            return (member.key, JSONValue.object(schema))
        }
        return [
            "description": "When the job recurs; only in Jobs/schedules.",
            "anyOf": [
                .object(ValueConstraint.cron.jsonSchema),
                [
                    "type": "object", "additionalProperties": false, "required": ["cron"],
                    "properties": .object(Dictionary(uniqueKeysWithValues: properties)),
                ],
            ],
        ]
    }

    /// What `schedule:` in the bytes of a file says; `nil` when there is none that can be read.
    package static func read(_ data: Data, local: TimeZone = .current) -> ScheduleDefinition? {
        guard let root = try? DocumentReader().read(data), let node = root["schedule"] else { return nil }
        var values = ValueParser()
        return ScheduleDefinition(node, local: local, &values)
    }

    /// Reads the value of `schedule:`; `nil` after noting what is wrong.
    init?(_ node: SourceNode, local: TimeZone, _ values: inout ValueParser) {
        let before = values.findings.count
        var written: [String: JSONValue] = [:]
        if let entries = node.entries {
            for entry in entries {
                if let member = Self.members.first(where: { $0.key == entry.key }) {
                    written[entry.key] = values.parse(entry.value, member.constraint, key: "schedule.\(entry.key)")
                    continue
                }
                let keys = Self.members.map(\.key)
                let near = KeySuggestion.nearest(entry.key, among: keys) ?? Self.foreign[entry.key]
                values.findings.append(
                    Finding(
                        .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                        "schedule.\(PrintableText.line(entry.key, limit: 60)): unknown key",
                        hint: near.map { "did you mean \($0)?" } ?? "known here: \(keys.joined(separator: ", "))"))
            }
            if node["cron"] == nil {
                values.findings.append(
                    Finding(
                        .missingKey, at: node.mark, pointer: node.pointer, "schedule.cron is missing",
                        hint: "every night: cron: \"30 2 * * *\""))
            }
            if case .string("none")? = written["catch_up"], let lateness = node["max_lateness"] {
                values.findings.append(
                    Finding(
                        .conflict, at: lateness.mark, pointer: lateness.pointer,
                        "schedule.max_lateness: with catch_up: none nothing that is late makes a job",
                        hint: "leave one out"))
            }
        } else {
            written["cron"] = values.parse(node, .cron, key: "schedule")
        }
        guard values.findings.count == before, case .string(let text)? = written["cron"],
            let cron = try? CronExpression(text)
        else { return nil }
        self.cron = cron
        timeZone = local
        if case .string(let name)? = written["time_zone"], let zone = TimeZone(identifier: name) { timeZone = zone }
        catchUp = .latest
        if case .string(let word)? = written["catch_up"] { catchUp = CatchUp(rawValue: word) ?? .latest }
        maxLatenessSeconds = 86_400
        if case .string(let text)? = written["max_lateness"] { maxLatenessSeconds = Quantity.seconds(text) ?? 86_400 }
        isEnabled = written["enabled"] != .bool(false)
    }

    private static let foreign = [
        "timezone": "time_zone", "tz": "time_zone", "zone": "time_zone", "expression": "cron", "at": "cron",
        "catchup": "catch_up", "persistent": "catch_up", "startingDeadlineSeconds": "max_lateness",
        "suspend": "enabled", "disabled": "enabled",
    ]
}

/// The names of time zones.
enum TimeZoneName {
    /// The zone of a name such as `Europe/Berlin` or `UTC`.
    ///
    /// Names without a place, such as `CET`, are none: whether they know of daylight saving differs between programs.
    static func zone(_ name: String) -> TimeZone? {
        guard name == "UTC" || name.contains("/") else { return nil }
        return TimeZone(identifier: name)
    }

    /// The name that was probably meant.
    static func near(_ name: String) -> String? {
        let names = TimeZone.knownTimeZoneIdentifiers
        let word = name.replacing(" ", with: "_").lowercased()
        let place = names.first { $0.lowercased() == word || $0.lowercased().hasSuffix("/" + word) }
        if let place { return place }
        if ["gmt", "z", "utc", "etc/utc"].contains(word) { return "UTC" }
        if let near = KeySuggestion.nearest(word, among: names) { return near }
        let cities = Dictionary(
            names.map { (String($0.split(separator: "/").last ?? ""), $0) }, uniquingKeysWith: { first, _ in first })
        let city = String(word.split(separator: "/").last ?? "")
        return KeySuggestion.nearest(city, among: cities.keys.sorted()).flatMap { cities[$0] }
    }
}
