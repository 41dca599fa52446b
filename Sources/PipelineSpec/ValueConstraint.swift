/// What a key accepts.
package indirect enum ValueConstraint: Sendable, Equatable {
    /// One member of a mapping, as ``switchable(off:members:)`` and others have them.
    package struct Member: Sendable, Equatable {
        package let key: String
        package let constraint: ValueConstraint
        package let defaultValue: JSONValue
        package let documentation: String

        init(_ key: String, _ constraint: ValueConstraint, _ defaultValue: JSONValue, _ documentation: String) {
            self.key = key
            self.constraint = constraint
            self.defaultValue = defaultValue
            self.documentation = documentation
        }
    }

    case string(maximum: Int)
    /// A name in the store: `^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`.
    case name
    case boolean
    case integer(ClosedRange<Int>)
    /// A number; `above` leaves out the lower bound.
    case number(ClosedRange<Double>, above: Bool = false)
    /// One of some words; `planned` ones are known but not built.
    case choice([String], planned: [String] = [])
    /// Some of some words; a single one needs no brackets.
    case list(of: [String], planned: [String] = [])
    /// Seconds, written with a unit.
    case duration(ClosedRange<Double>)
    /// Bytes, written with a unit.
    case size
    /// `3%`, or a count.
    case shareOrCount
    /// `5%`, or paths.
    case split
    case paths
    /// Like ``paths``, perhaps none, and nothing need be there.
    case patterns
    /// Texts that differ, perhaps none; a single one needs no brackets.
    case names
    case base
    case targets
    case columns
    case moment
    /// `06:00`: a time on the clock.
    case timeOfDay
    /// Five fields, or a shortcut.
    case cron
    /// `local`, or a name such as `Europe/Berlin`.
    case timeZone
    case jobReferences
    /// A word, or what another constraint accepts.
    case orWord(String, ValueConstraint)
    case orNull(ValueConstraint)
    /// `false` or `null` for off, `true` for on with defaults, or a mapping.
    case switchable(off: JSONValue, members: [Member])
    /// `null`, a text that stands for one member, or a mapping.
    case record(shorthand: String, members: [Member])
    /// A mapping from names to mappings, each with some members that must be written.
    case table(of: [Member], required: [String])
    /// A name for an alias: letters, digits, `_` and `-`, the first a letter; not `latest`, which nobody moves.
    case alias
    /// `95%`: above 0 and below 1.
    case share
    /// `5%`: from 0 to 1.
    case portion
    /// A number or a share, perhaps negative.
    case change
    /// A mapping from names of modules, or patterns for them, to values.
    case modules(ValueConstraint)
    /// A mapping from `retention`, `suite.NAME` or `suite.*` to shares.
    case tolerances
    case anything

    /// The parts of a record that `data.columns` can place.
    static let columnNames = [
        "text", "prompt", "completion", "system", "messages", "tools", "instruction", "input", "output", "history",
        "text_pair", "label", "tokens", "tags", "score", "chosen", "rejected", "image",
    ]

    static let namePattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

    /// Whether `text` may name an adapter, a pipeline, a stage or a queue.
    package static func isName(_ text: String) -> Bool {
        text.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9._-]{0,127}/#) != nil
    }

    /// What is accepted, as the end of "expected …".
    package var expectation: String {
        switch self {
        case .string(let maximum): "text of at most \(maximum) characters"
        case .name: "a name of letters, digits, . _ - (at most 128, the first a letter or digit)"
        case .boolean: "true or false"
        case .integer(let range) where range.upperBound > 100_000_000: "a whole number from \(range.lowerBound)"
        case .integer(let range) where range.count == 1: "\(range.lowerBound)"
        case .integer(let range): "a whole number \(range.lowerBound)…\(range.upperBound)"
        case .number(let range, let above):
            (above ? "a number above " : "a number ") + JSONValue.text(of: range.lowerBound)
                + (above ? ", at most " : "…") + JSONValue.text(of: range.upperBound)
        case .choice(let words, _): Self.alternatives(words)
        case .list(let words, _): words.count == 1 ? "[\(words[0])]" : "a list of \(Self.alternatives(words))"
        case .duration: "a duration with its unit, such as 8h, 90m or 6h30m"
        case .size: "a size with its unit, such as 512MiB"
        case .shareOrCount: "a share such as 3%, or a number of steps"
        case .split: "a share such as 5%, or files"
        case .paths, .patterns: "a file, a pattern, or a list of them"
        case .names: "a name, or a list of names that differ"
        case .base: "a folder, a model id, store:NAME, or {config: DIR, init: random}"
        case .targets: "all-linear, default, a list of name endings, or a regular expression"
        case .columns: "a mapping such as {prompt: question, completion: answer}"
        case .moment: "a date and time such as 2027-01-31T02:30"
        case .timeOfDay: "a time of day such as \"06:00\""
        case .cron: "a cron expression such as 30 2 * * *"
        case .timeZone: "a time zone such as Europe/Berlin, UTC, or local"
        case .jobReferences: "job ids, each with :ok, :any or :notok"
        case .orWord(let word, let inner): "\(word) or \(inner.expectation)"
        case .orNull(let inner): "null or \(inner.expectation)"
        case .switchable(_, let members):
            "true, false, or {" + members.map { "\($0.key): …" }.joined(separator: ", ") + "}"
        case .record(let shorthand, let members):
            "null, a word for \(shorthand), or {" + members.map { "\($0.key): …" }.joined(separator: ", ") + "}"
        case .table(let members, _):
            "a mapping from names to {" + members.map { "\($0.key): …" }.joined(separator: ", ") + "}"
        case .alias: "a name of letters, digits, _ and - (at most 64, the first a letter), not latest"
        case .portion: "a share such as 5%"
        case .share: "a share above 0% and below 100%, such as 95%"
        case .change: "a number, or a share such as 1%"
        case .modules(let inner): "a mapping from names of modules to \(inner.expectation)"
        case .tolerances: "a mapping such as {retention: 1%, suite.*: 2%}"
        case .anything: "a value"
        }
    }

    private static func alternatives(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.first ?? "" }
        return words.dropLast().joined(separator: ", ") + " or " + last
    }

    /// The same as JSON Schema (draft 2020-12), for editors.
    var jsonSchema: [String: JSONValue] {
        switch self {
        case .string(let maximum): ["type": "string", "maxLength": .integer(maximum)]
        case .name: ["type": "string", "pattern": .string(Self.namePattern)]
        case .boolean: ["type": "boolean"]
        case .integer(let range):
            ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
        case .number(let range, let above):
            [
                "type": "number", above ? "exclusiveMinimum" : "minimum": .number(range.lowerBound),
                "maximum": .number(range.upperBound),
            ]
        case .choice(let words, _): ["enum": .array(words.map { .string($0) })]
        case .list(let words, _):
            Self.oneOrMore(["enum": .array(words.map { .string($0) })])
        case .duration: ["type": "string", "pattern": #"^([0-9]+(\.[0-9]+)?[wdhms])+$"#]
        case .size: ["type": "string", "pattern": #"^[0-9]+(\.[0-9]+)? *([KMGT]i?B|kB|B)$"#]
        case .shareOrCount: Self.any([Self.percent, ["type": "integer", "minimum": 0]])
        case .split: Self.any([Self.percent, ["type": "string"], ["type": "array", "items": ["type": "string"]]])
        case .paths, .patterns: Self.oneOrMore(["type": "string", "minLength": 1])
        case .names: Self.oneOrMore(["type": "string", "minLength": 1])
        case .base:
            Self.any([
                ["type": "string", "minLength": 1],
                [
                    "type": "object", "additionalProperties": false, "required": ["config", "init"],
                    "properties": ["config": ["type": "string"], "init": ["const": "random"]],
                ],
            ])
        case .targets: Self.oneOrMore(["type": "string", "minLength": 1])
        case .columns:
            [
                "type": "object", "additionalProperties": ["type": "string"],
                "propertyNames": ["enum": .array(Self.columnNames.map { .string($0) })],
            ]
        case .moment, .timeZone: ["type": "string"]
        case .timeOfDay: ["type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"]
        case .cron: ["type": "string", "pattern": #"^\s*(@[a-z]+|\S+(\s+\S+){4})\s*$"#]
        case .jobReferences: Self.oneOrMore(["type": "string", "pattern": "^[0-9A-Za-z]{26}(:(ok|any|notok))?$"])
        case .orWord(let word, let inner): Self.any([["const": .string(word)], inner.jsonSchema])
        case .orNull(let inner): Self.any([["type": "null"], inner.jsonSchema])
        case .switchable(_, let members): Self.any([["type": ["boolean", "null"]], Self.mapping(members)])
        case .record(let shorthand, let members):
            Self.any(
                members.contains { $0.key == shorthand && $0.constraint == .names }
                    ? [["type": "null"], ValueConstraint.names.jsonSchema, Self.mapping(members)]
                    : [["type": ["string", "null"]], Self.mapping(members)])
        case .table(let members, let required):
            [
                "type": "object", "propertyNames": ["pattern": .string(Self.namePattern)],
                "additionalProperties": .object(
                    Self.mapping(members).merging(["required": .array(required.map { .string($0) })]) { $1 }),
            ]
        case .alias: ["type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$"]
        case .share, .portion: Self.percent
        case .change: Self.any([["type": "number"], ["type": "string", "pattern": #"^-?[0-9]+(\.[0-9]+)? *%$"#]])
        case .modules(let inner): ["type": "object", "additionalProperties": .object(inner.jsonSchema)]
        case .tolerances:
            [
                "type": "object", "additionalProperties": .object(Self.percent),
                "propertyNames": ["pattern": #"^(retention|suite\..+)$"#],
            ]
        case .anything: [:]
        }
    }

    private static func mapping(_ members: [Member]) -> [String: JSONValue] {
        [
            "type": "object", "additionalProperties": false,
            "properties": .object(
                Dictionary(
                    uniqueKeysWithValues: members.map { member in
                        var schema = member.constraint.jsonSchema
                        schema["description"] = .string(member.documentation)
                        schema["default"] = member.defaultValue
                        return (member.key, .object(schema))
                    })),
        ]
    }

    private static let percent: [String: JSONValue] = ["type": "string", "pattern": #"^[0-9]+(\.[0-9]+)? *%$"#]

    private static func any(_ schemas: [[String: JSONValue]]) -> [String: JSONValue] {
        ["anyOf": .array(schemas.map { .object($0) })]
    }

    private static func oneOrMore(_ element: [String: JSONValue]) -> [String: JSONValue] {
        any([element, ["type": "array", "items": .object(element)]])
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }
}
