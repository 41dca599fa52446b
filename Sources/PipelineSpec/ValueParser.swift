import Foundation

/// Turns the nodes of a file into values in their canonical spelling, and notes what is wrong with them.
struct ValueParser {
    /// What was found so far.
    var findings: [Finding] = []
    /// Whose time a moment without an offset is.
    var timeZone = TimeZone.current

    /// The value of `node` by `constraint`, or `nil` after noting why not. `key` names it in messages.
    mutating func parse(_ node: SourceNode, _ constraint: ValueConstraint, key: String) -> JSONValue? {
        switch constraint {
        case .string(let maximum):
            guard let text = text(node, constraint, key) else { return nil }
            guard text.count <= maximum else { return refuse(node, .invalidValue, key, constraint) }
            return .string(text)
        case .name:
            guard let text = text(node, constraint, key) else { return nil }
            guard ValueConstraint.isName(text) else { return refuse(node, .invalidValue, key, constraint) }
            return .string(text)
        case .boolean: return boolean(node, constraint, key)
        case .integer(let range): return integer(node, range, constraint, key)
        case .number(let range, let above): return number(node, range, above: above, constraint, key)
        case .choice(let words, let planned):
            guard let text = text(node, constraint, key) else { return nil }
            return word(text, node, words, planned, constraint, key)
        case .list(let words, let planned): return list(node, words, planned, constraint, key)
        case .duration(let range): return duration(node, range, constraint, key)
        case .size:
            guard let text = node.scalar?.text, let bytes = Quantity.bytes(text) else {
                return refuse(node, .wrongType, key, constraint, hint: "write the unit: 512MiB")
            }
            return .string(Quantity.size(bytes))
        case .shareOrCount:
            if case .integer(let count)? = node.scalar?.value, count >= 0 { return .integer(count) }
            return share(node, constraint, key)
        case .split:
            if let text = node.scalar?.text, text.hasSuffix("%") { return share(node, constraint, key) }
            if case .number? = node.scalar?.value { return share(node, constraint, key) }
            if case .integer? = node.scalar?.value { return share(node, constraint, key) }
            return strings(node, constraint, key).map { .array($0.map { .string($0) }) }
        case .paths:
            guard let paths = strings(node, constraint, key) else { return nil }
            guard !paths.isEmpty else { return refuse(node, .invalidValue, key, constraint) }
            return .array(paths.map { .string($0) })
        case .patterns: return strings(node, constraint, key).map { .array($0.map { .string($0) }) }
        case .names:
            guard let names = strings(node, constraint, key) else { return nil }
            guard Set(names).count == names.count, !names.contains("") else {
                return refuse(node, .invalidValue, key, constraint)
            }
            return .array(names.map { .string($0) })
        case .base: return base(node, constraint, key)
        case .targets: return targets(node, constraint, key)
        case .columns: return columns(node, constraint, key)
        case .moment:
            guard let text = text(node, constraint, key) else { return nil }
            guard let moment = Moment.parse(text, timeZone: timeZone) else {
                return refuse(node, .invalidValue, key, constraint)
            }
            return .string(Moment.text(moment))
        case .timeOfDay:
            guard let text = text(node, constraint, key) else { return nil }
            guard let minute = TimeOfDay.minute(text) else { return refuse(node, .invalidValue, key, constraint) }
            return .string(TimeOfDay.text(minute))
        case .cron: return cron(node, constraint, key)
        case .timeZone:
            guard let text = text(node, constraint, key) else { return nil }
            guard text == "local" || TimeZoneName.zone(text) != nil else {
                return refuse(
                    node, .invalidValue, key, constraint, hint: TimeZoneName.near(text).map { "did you mean \($0)?" })
            }
            return .string(text)
        case .jobReferences: return jobReferences(node, constraint, key)
        case .orWord(let word, let inner):
            if node.scalar?.text == word { return .string(word) }
            // Noted here, so that the message names the word too.
            var attempt = ValueParser(timeZone: timeZone)
            if let value = attempt.parse(node, inner, key: key) { return value }
            return refuse(node, attempt.findings.first?.code ?? .wrongType, key, constraint)
        case .orNull(let inner): return node.isNull ? .null : parse(node, inner, key: key)
        case .switchable(let off, let members): return switchable(node, off, members, constraint, key)
        case .record(let shorthand, let members): return record(node, shorthand, members, constraint, key)
        case .table(let members, let required): return table(node, members, required, constraint, key)
        case .alias:
            guard let text = text(node, constraint, key) else { return nil }
            guard text.wholeMatch(of: #/[A-Za-z][A-Za-z0-9_-]{0,63}/#) != nil, text != "latest" else {
                return refuse(
                    node, .invalidValue, key, constraint,
                    hint: text == "latest" ? "latest is always the newest version" : nil)
            }
            return .string(text)
        case .share:
            guard case .string(let text)? = share(node, constraint, key) else { return nil }
            guard let share = Quantity.share(text), share > 0, share < 1 else {
                return refuse(node, .outOfRange, key, constraint)
            }
            return .string(text)
        case .portion: return share(node, constraint, key)
        case .change: return change(node, constraint, key)
        case .modules(let inner): return modules(node, constraint, inner, key)
        case .tolerances: return tolerances(node, constraint, key)
        case .anything: return node.json
        }
    }

    /// Notes that the value of `node` is not what `key` takes.
    mutating func refuse(
        _ node: SourceNode, _ code: Finding.Code, _ key: String, _ constraint: ValueConstraint, hint: String? = nil
    ) -> JSONValue? {
        findings.append(
            Finding(
                code, at: node.mark, pointer: node.pointer,
                "\(key): expected \(constraint.expectation), got \(node.description)", hint: hint))
        return nil
    }

    private mutating func text(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> String? {
        guard let scalar = node.scalar, !node.isNull else {
            _ = refuse(node, .wrongType, key, constraint)
            return nil
        }
        // A name such as 2026 or true needs no quotation marks: its text is what was meant.
        guard !scalar.text.isEmpty else {
            _ = refuse(node, .invalidValue, key, constraint)
            return nil
        }
        return scalar.text
    }

    private mutating func boolean(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        if case .bool? = node.scalar?.value { return node.scalar?.value }
        let meant: [String: String] = [
            "yes": "true", "on": "true", "y": "true", "1": "true", "true": "true",
            "no": "false", "off": "false", "n": "false", "0": "false", "false": "false",
        ]
        let word = node.scalar.flatMap { meant[$0.text.lowercased()] }
        return refuse(node, .wrongType, key, constraint, hint: word.map { "write \($0)" })
    }

    private mutating func integer(
        _ node: SourceNode, _ range: ClosedRange<Int>, _ constraint: ValueConstraint, _ key: String
    ) -> JSONValue? {
        let value: Int
        switch node.scalar?.value {
        case .integer(let number): value = number
        case .number(let number) where number == number.rounded() && abs(number) < 9e15: value = Int(number)
        case .number(let number) where number.isFinite && number == number.rounded():
            return refuse(node, .outOfRange, key, constraint)
        default: return refuse(node, .wrongType, key, constraint, hint: numberHint(node))
        }
        return range.contains(value) ? .integer(value) : refuse(node, .outOfRange, key, constraint)
    }

    private mutating func number(
        _ node: SourceNode, _ range: ClosedRange<Double>, above: Bool, _ constraint: ValueConstraint, _ key: String
    ) -> JSONValue? {
        let value: Double
        switch node.scalar?.value {
        case .integer(let number): value = Double(number)
        case .number(let number): value = number
        default: return refuse(node, .wrongType, key, constraint, hint: numberHint(node))
        }
        guard range.contains(value), !above || value > range.lowerBound else {
            return refuse(node, .outOfRange, key, constraint)
        }
        return .number(value)
    }

    private func numberHint(_ node: SourceNode) -> String? {
        guard let scalar = node.scalar else { return nil }
        if scalar.isQuoted, !scalar.text.isEmpty {
            let plain = Scalar(text: scalar.text, isQuoted: false).value
            if case .string = plain {} else { return "leave out the quotation marks" }
        }
        let digits = scalar.text.filter { $0 != "_" && $0 != "," }
        return digits != scalar.text && Double(digits) != nil ? "write \(digits)" : nil
    }

    private mutating func word(
        _ text: String, _ node: SourceNode, _ words: [String], _ planned: [String], _ constraint: ValueConstraint,
        _ key: String
    ) -> JSONValue? {
        if words.contains(text) { return .string(text) }
        if planned.contains(text) {
            findings.append(
                Finding(
                    .unsupported, at: node.mark, pointer: node.pointer,
                    "\(key): \(text) is not built yet", hint: "use \(constraint.expectation)"))
            return nil
        }
        let near = KeySuggestion.nearest(text, among: words)
        return refuse(node, .invalidValue, key, constraint, hint: near.map { "did you mean \($0)?" })
    }

    private mutating func list(
        _ node: SourceNode, _ words: [String], _ planned: [String], _ constraint: ValueConstraint, _ key: String
    ) -> JSONValue? {
        var values: [JSONValue] = []
        for element in node.elements ?? [node] {
            guard let text = text(element, constraint, key),
                let value = word(text, element, words, planned, constraint, key)
            else { return nil }
            if !values.contains(value) { values.append(value) }
        }
        return values.isEmpty ? refuse(node, .invalidValue, key, constraint) : .array(values)
    }

    private mutating func duration(
        _ node: SourceNode, _ range: ClosedRange<Double>, _ constraint: ValueConstraint, _ key: String
    ) -> JSONValue? {
        guard let text = node.scalar?.text, let seconds = Quantity.seconds(text) else {
            let isBare = node.scalar.map { Double($0.text) != nil } ?? false
            return refuse(
                node, .wrongType, key, constraint,
                hint: isBare ? "write the unit: \(node.scalar?.text ?? "")s for seconds" : nil)
        }
        guard range.contains(seconds) else {
            findings.append(
                Finding(
                    .outOfRange, at: node.mark, pointer: node.pointer,
                    """
                    \(key): expected \(Quantity.duration(range.lowerBound)) to \(Quantity.duration(range.upperBound)), \
                    got \(node.description)
                    """))
            return nil
        }
        return .string(Quantity.duration(seconds))
    }

    private mutating func cron(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        guard let text = text(node, constraint, key) else { return nil }
        do {
            return .string(try CronExpression(text).description)
        } catch let problem as CronExpression.Problem {
            var mark = node.mark
            // Behind the quotation mark, where there is one.
            mark.column += problem.column - 1 + (node.scalar?.isQuoted == true ? 1 : 0)
            findings.append(
                Finding(
                    .invalidValue, at: mark, pointer: node.pointer,
                    "\(key): \(problem.field.map { "\($0): " } ?? "")\(problem.message)", hint: problem.hint))
            return nil
        } catch {
            return refuse(node, .invalidValue, key, constraint)
        }
    }

    private mutating func share(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        guard let text = node.scalar?.text, let share = Quantity.share(text) else {
            var hint: String?
            if case .number(let value)? = node.scalar?.value, value > 0, value < 1 {
                hint = "write \(Quantity.percent(value))"
            } else if node.scalar?.value == .integer(0) {
                hint = "write 0%"
            }
            return refuse(node, .wrongType, key, constraint, hint: hint)
        }
        let isSplit = constraint == .split
        guard isSplit ? share < 1 : share <= 1 else {
            return refuse(node, .outOfRange, key, constraint)
        }
        return .string(Quantity.percent(share))
    }

    private mutating func strings(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> [String]? {
        if node.entries != nil {
            _ = refuse(node, .wrongType, key, constraint)
            return nil
        }
        var values: [String] = []
        for element in node.elements ?? [node] {
            guard let text = text(element, constraint, key) else { return nil }
            values.append(text)
        }
        return values
    }

    private mutating func base(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        guard let entries = node.entries else { return text(node, constraint, key).map { .string($0) } }
        for entry in entries where entry.key != "config" && entry.key != "init" {
            findings.append(
                Finding(
                    .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                    "\(key).\(entry.key): unknown key", hint: "base takes {config: DIR, init: random}"))
            return nil
        }
        guard let config = node["config"], let path = text(config, .string(maximum: 4096), "\(key).config") else {
            if node["config"] == nil { return refuse(node, .missingKey, key, constraint) }
            return nil
        }
        guard let start = node["init"], start.scalar?.text == "random" else {
            return refuse(node["init"] ?? node, .invalidValue, "\(key).init", .choice(["random"]))
        }
        return .object(["config": .string(path), "init": "random"])
    }

    private mutating func targets(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        guard node.elements == nil else {
            guard let names = strings(node, constraint, key) else { return nil }
            return names.isEmpty ? refuse(node, .invalidValue, key, constraint) : .array(names.map { .string($0) })
        }
        guard let text = text(node, constraint, key) else { return nil }
        switch text {
        case "all-linear", "default": return .string(text)
        case "all", "all_linear", "linear":
            return refuse(node, .invalidValue, key, constraint, hint: "write all-linear")
        default: break
        }
        // A bare word is a list of one: as a regular expression it could only match a whole module path.
        if text.wholeMatch(of: #/[A-Za-z0-9_]+/#) != nil { return .array([.string(text)]) }
        if !text.contains("(?P"), (try? NSRegularExpression(pattern: text)) == nil {
            findings.append(
                Finding(
                    .invalidValue, at: node.mark, pointer: node.pointer,
                    "\(key): \(node.description) is no regular expression",
                    hint: "several names are a list: [q_proj, v_proj]"))
            return nil
        }
        return .string(text)
    }

    private mutating func columns(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        guard let entries = node.entries else { return refuse(node, .wrongType, key, constraint) }
        var members: [String: JSONValue] = [:]
        for entry in entries {
            guard ValueConstraint.columnNames.contains(entry.key) else {
                let near = KeySuggestion.nearest(entry.key, among: ValueConstraint.columnNames)
                findings.append(
                    Finding(
                        .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key).\(entry.key): unknown key",
                        hint: near.map { "did you mean \($0)?" }
                            ?? "the left side is one of \(ValueConstraint.columnNames.joined(separator: ", "))"))
                continue
            }
            if let text = text(entry.value, .string(maximum: 200), "\(key).\(entry.key)") {
                members[entry.key] = .string(text)
            }
        }
        return .object(members)
    }

    private mutating func jobReferences(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue?
    {
        guard let texts = strings(node, constraint, key) else { return nil }
        var values: [JSONValue] = []
        for (index, text) in texts.enumerated() {
            let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let condition = parts.count > 1 ? String(parts[1]) : "ok"
            guard let id = ULID(parts[0]), ["ok", "any", "notok"].contains(condition) else {
                return refuse(node.elements?[index] ?? node, .invalidValue, key, constraint)
            }
            values.append(.string("\(id):\(condition)"))
        }
        return .array(values)
    }

    private mutating func switchable(
        _ node: SourceNode, _ off: JSONValue, _ members: [ValueConstraint.Member], _ constraint: ValueConstraint,
        _ key: String
    ) -> JSONValue? {
        let defaults = Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.defaultValue) })
        if case .bool(let isOn)? = node.scalar?.value { return isOn ? .object(defaults) : off }
        if node.isNull { return off }
        guard let entries = node.entries else {
            let word = node.scalar.flatMap { ["yes": "true", "on": "true", "no": "false", "off": "false"][$0.text] }
            return refuse(node, .wrongType, key, constraint, hint: word.map { "write \($0)" })
        }
        return .object(self.members(entries, members, key))
    }

    /// The values of a mapping, the defaults of what is not written among them.
    private mutating func members(
        _ entries: [SourceNode.Entry], _ members: [ValueConstraint.Member], _ key: String
    ) -> [String: JSONValue] {
        var values = Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.defaultValue) })
        for entry in entries {
            guard let member = members.first(where: { $0.key == entry.key }) else {
                let near = KeySuggestion.nearest(entry.key, among: members.map(\.key))
                findings.append(
                    Finding(
                        .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key).\(entry.key): unknown key", hint: near.map { "did you mean \($0)?" }))
                continue
            }
            if let value = parse(entry.value, member.constraint, key: "\(key).\(entry.key)") {
                values[entry.key] = value
            }
        }
        return values
    }

    private mutating func record(
        _ node: SourceNode, _ shorthand: String, _ members: [ValueConstraint.Member], _ constraint: ValueConstraint,
        _ key: String
    ) -> JSONValue? {
        if node.isNull { return .null }
        if let entries = node.entries { return .object(self.members(entries, members, key)) }
        guard let member = members.first(where: { $0.key == shorthand }) else {
            return refuse(node, .wrongType, key, constraint)
        }
        if case .string? = node.scalar?.value {
        } else if node.elements == nil || member.constraint != .names {
            return refuse(node, .wrongType, key, constraint)
        }
        guard let value = parse(node, member.constraint, key: key) else { return nil }
        return .object(self.members([], members, key).merging([shorthand: value]) { $1 })
    }

    private mutating func table(
        _ node: SourceNode, _ members: [ValueConstraint.Member], _ required: [String], _ constraint: ValueConstraint,
        _ key: String
    ) -> JSONValue? {
        if node.isNull { return .object([:]) }
        guard let entries = node.entries else { return refuse(node, .wrongType, key, constraint) }
        var rows: [String: JSONValue] = [:]
        for entry in entries {
            guard ValueConstraint.isName(entry.key) else {
                findings.append(
                    Finding(
                        .invalidValue, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key): expected \(ValueConstraint.name.expectation), got \(PrintableText.quoted(entry.key))"))
                continue
            }
            guard let inner = entry.value.entries else {
                _ = refuse(entry.value, .wrongType, "\(key).\(entry.key)", constraint)
                continue
            }
            for needed in required where !inner.contains(where: { $0.key == needed }) {
                findings.append(
                    Finding(
                        .missingKey, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key).\(entry.key).\(needed) is missing"))
            }
            rows[entry.key] = .object(self.members(inner, members, "\(key).\(entry.key)"))
        }
        return .object(rows)
    }

    private mutating func change(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        switch node.scalar?.value {
        case .integer(let number): return .number(Double(number))
        case .number(let number) where number.isFinite: return .number(number)
        case .string(let text):
            let isNegative = text.hasPrefix("-")
            guard let share = Quantity.share(isNegative ? String(text.dropFirst()) : text) else {
                return refuse(node, .wrongType, key, constraint, hint: numberHint(node))
            }
            return .string((isNegative && share != 0 ? "-" : "") + Quantity.percent(share))
        default: return refuse(node, .wrongType, key, constraint)
        }
    }

    private mutating func modules(
        _ node: SourceNode, _ constraint: ValueConstraint, _ inner: ValueConstraint, _ key: String
    ) -> JSONValue? {
        if node.isNull { return .object([:]) }
        guard let entries = node.entries else { return refuse(node, .wrongType, key, constraint) }
        var values: [String: JSONValue] = [:]
        for entry in entries {
            values[entry.key] = parse(entry.value, inner, key: "\(key).\(PrintableText.line(entry.key, limit: 60))")
        }
        return .object(values)
    }

    private mutating func tolerances(_ node: SourceNode, _ constraint: ValueConstraint, _ key: String) -> JSONValue? {
        if node.isNull { return .object([:]) }
        guard let entries = node.entries else { return refuse(node, .wrongType, key, constraint) }
        var rules: [String: JSONValue] = [:]
        for entry in entries {
            guard entry.key == "retention" || entry.key.hasPrefix("suite.") && entry.key.count > 6 else {
                let near = KeySuggestion.nearest(entry.key, among: ["retention", "suite.*"])
                findings.append(
                    Finding(
                        .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key).\(PrintableText.line(entry.key, limit: 60)): expected retention, suite.NAME or suite.*",
                        hint: near.map { "did you mean \($0)?" }))
                continue
            }
            if let value = share(entry.value, .share, "\(key).\(entry.key)") { rules[entry.key] = value }
        }
        return .object(rules)
    }
}
