import Foundation

/// Reads the keys of `lorajobs.yaml`.
struct SettingsParser {
    private(set) var roots: [String] = []
    private(set) var queues: [String: WorkspaceSettings.Queue] = [:]
    private(set) var inbox = WorkspaceSettings.Inbox()
    private(set) var report = WorkspaceSettings.Report()
    private(set) var permissions = WorkspaceSettings.Permissions.private
    private(set) var quiet: QuietHours?
    private(set) var retention = RetentionPolicy()
    private(set) var tenants: [String: WorkspaceSettings.Tenant] = [:]
    private(set) var threads: Int?
    private(set) var memoryBytes: Int?
    private(set) var defaults = ManifestLayer()
    private(set) var notify: [String: NoticeTarget] = [:]
    var written: Set<String> = []
    var values = ValueParser()

    private static let known = [
        "version", "roots", "queues", "tenants", "threads", "memory", "quiet", "inbox", "retention", "report",
        "permissions", "notify", "defaults",
    ]
    private static let inboxKeys = ["settle", "require_end_marker", "max_bytes"]

    var findings: [Finding] { values.findings }

    mutating func parse(_ root: SourceNode) {
        guard let entries = root.entries else {
            values.findings.append(Finding(.wrongType, at: root.mark, "the settings are a mapping of keys"))
            return
        }
        for entry in entries {
            switch entry.key {
            case "version": _ = values.parse(entry.value, .integer(1...1), key: "version")
            case "roots": parseRoots(entry.value)
            case "queues": parseQueues(entry.value)
            case "tenants": parseTenants(entry.value)
            case "threads":
                guard
                    let value = values.parse(entry.value, .orWord("auto", .integer(1...1024)), key: "threads")
                else { continue }
                written.insert("threads")
                if case .integer(let count) = value { threads = count }
            case "memory":
                guard case .string(let text)? = values.parse(entry.value, .orWord("auto", .size), key: "memory")
                else { continue }
                written.insert("memory")
                memoryBytes = Quantity.bytes(text)
                if memoryBytes == 0 {
                    values.findings.append(
                        Finding(
                            .outOfRange, at: entry.value.mark, pointer: entry.value.pointer,
                            "memory: no job runs without any", hint: "write auto, or more"))
                }
            case "quiet": quiet = parseQuiet(entry.value, "quiet")
            case "inbox": parseInbox(entry.value)
            case "report": parseReport(entry.value)
            case "permissions":
                let words = WorkspaceSettings.Permissions.allCases.map(\.rawValue)
                guard case .string(let word)? = values.parse(entry.value, .choice(words), key: "permissions"),
                    let chosen = WorkspaceSettings.Permissions(rawValue: word)
                else { continue }
                permissions = chosen
                written.insert("permissions")
            case "retention": parseRetention(entry.value)
            case "defaults": parseDefaults(entry.value)
            case "notify": notify = parseNotify(entry.value)
            default: unknown(entry, "", Self.known)
            }
        }
    }

    private mutating func parseRoots(_ node: SourceNode) {
        written.insert("roots")
        if node.isNull || node.elements?.isEmpty == true { return }
        for element in node.elements ?? [node] {
            guard let value = values.parse(element, .string(maximum: 4096), key: "roots"),
                case .string(let path) = value
            else { continue }
            guard path.hasPrefix("/") else {
                values.findings.append(
                    Finding(
                        .invalidValue, at: element.mark, pointer: element.pointer,
                        "roots: \(PrintableText.quoted(path)) is not an absolute path", hint: "start it with /"))
                continue
            }
            roots.append(path)
        }
    }

    private mutating func parseRetention(_ node: SourceNode) {
        let counts: [String: WritableKeyPath<RetentionPolicy, Int>] = [
            "keep_last": \.keepLast, "keep_daily": \.keepDaily, "keep_monthly": \.keepMonthly,
            "alias_history": \.aliasHistory,
        ]
        let durations: [String: WritableKeyPath<RetentionPolicy, Double>] = [
            "runs": \.runSeconds, "grace": \.graceSeconds, "trash": \.trashSeconds,
        ]
        for entry in mapping(node, "retention") {
            let key = "retention.\(entry.key)"
            if let path = counts[entry.key] {
                guard case .integer(let count)? = values.parse(entry.value, .integer(0...100_000), key: key) else {
                    continue
                }
                retention[keyPath: path] = count
            } else if let path = durations[entry.key] {
                guard case .string(let text)? = values.parse(entry.value, .duration(0...3_153_600_000), key: key),
                    let seconds = Quantity.seconds(text)
                else { continue }
                retention[keyPath: path] = seconds
            } else if entry.key == "cache" {
                guard case .string(let text)? = values.parse(entry.value, .orWord("unlimited", .size), key: key) else {
                    continue
                }
                retention.cacheBytes = Quantity.bytes(text)
            } else {
                unknown(entry, "retention.", (Array(counts.keys) + durations.keys + ["cache"]).sorted())
                continue
            }
            written.insert(key)
        }
    }

    private mutating func parseQueues(_ node: SourceNode) {
        for entry in named(node, "queues") {
            var queue = WorkspaceSettings.Queue()
            for inner in mapping(entry.value, "queues.\(entry.key)") {
                let key = "queues.\(entry.key).\(inner.key)"
                switch inner.key {
                case "max_jobs":
                    guard case .integer(let count)? = values.parse(inner.value, .integer(1...1000), key: key)
                    else { continue }
                    queue.maxJobs = count
                case "priority":
                    guard case .integer(let points)? = values.parse(inner.value, .integer(-100...100), key: key)
                    else { continue }
                    queue.priority = points
                case "quiet":
                    guard let hours = parseQuiet(inner.value, key) else { continue }
                    queue.quiet = hours
                default:
                    unknown(inner, "queues.\(entry.key).", ["max_jobs", "priority", "quiet"])
                    continue
                }
                written.insert(key)
            }
            queues[entry.key] = queue
        }
    }

    private mutating func parseTenants(_ node: SourceNode) {
        for entry in named(node, "tenants") {
            var tenant = WorkspaceSettings.Tenant()
            for inner in mapping(entry.value, "tenants.\(entry.key)") {
                let key = "tenants.\(entry.key).\(inner.key)"
                switch inner.key {
                case "weight":
                    switch values.parse(inner.value, .number(0...1_000_000, above: true), key: key) {
                    case .integer(let weight): tenant.weight = Double(weight)
                    case .number(let weight): tenant.weight = weight
                    default: continue
                    }
                case "owners":
                    tenant.owners = (inner.value.elements ?? [inner.value]).compactMap { element in
                        guard case .string(let user)? = values.parse(element, .string(maximum: 64), key: key)
                        else { return nil }
                        return user
                    }
                default:
                    unknown(inner, "tenants.\(entry.key).", ["weight", "owners"])
                    continue
                }
                written.insert(key)
            }
            tenants[entry.key] = tenant
        }
    }

    /// The members of a mapping from names, without those whose name is none.
    mutating func named(_ node: SourceNode, _ section: String) -> [SourceNode.Entry] {
        mapping(node, section).filter { entry in
            if ValueConstraint.isName(entry.key) { return true }
            values.findings.append(
                Finding(
                    .invalidValue, at: entry.keyMark, pointer: entry.value.pointer,
                    "\(section): expected \(ValueConstraint.name.expectation), got \(PrintableText.quoted(entry.key))"))
            return false
        }
    }

    /// A list of spans of hours, or `{hours: […], time_zone: …}`.
    private mutating func parseQuiet(_ node: SourceNode, _ key: String) -> QuietHours? {
        var (list, zone) = (node, "local")
        if let entries = node.entries {
            for entry in entries {
                switch entry.key {
                case "hours": list = entry.value
                case "time_zone":
                    guard case .string(let name)? = values.parse(entry.value, .timeZone, key: "\(key).time_zone")
                    else { return nil }
                    zone = name
                default:
                    unknown(entry, "\(key).", ["hours", "time_zone"])
                    return nil
                }
            }
            guard node["hours"] != nil else {
                values.findings.append(
                    Finding(
                        .missingKey, at: node.mark, pointer: node.pointer, "\(key).hours is missing",
                        hint: "write \(key): {hours: [\"08:00-18:00\"], time_zone: Europe/Berlin}"))
                return nil
            }
        }
        guard case .array(let items)? = list.isNull ? JSONValue.array([]) : values.parse(list, .names, key: key) else {
            return nil
        }
        let texts = items.compactMap { if case .string(let text) = $0 { text } else { nil } }
        do throws(QuietHours.NotASpan) {
            let hours = try QuietHours(texts, timeZone: zone)
            guard !hours.isEndless else {
                values.findings.append(
                    Finding(
                        .invalidValue, at: list.mark, pointer: list.pointer,
                        "\(key): there is no minute left in which a job may run",
                        hint: "lorajobs queue pause stops a queue"))
                return nil
            }
            written.insert(key)
            return hours
        } catch {
            values.findings.append(
                Finding(
                    .invalidValue, at: list.mark, pointer: list.pointer,
                    "\(key): expected hours such as 08:00-18:00 or mon-fri 08:00-18:00, got "
                        + PrintableText.quoted(error.text)))
            return nil
        }
    }

    private mutating func parseInbox(_ node: SourceNode) {
        for entry in mapping(node, "inbox") {
            let key = "inbox.\(entry.key)"
            switch entry.key {
            case "settle":
                guard case .string(let text)? = values.parse(entry.value, .duration(0...3600), key: key),
                    let seconds = Quantity.seconds(text)
                else { continue }
                inbox.settleSeconds = seconds
            case "require_end_marker":
                guard case .bool(let value)? = values.parse(entry.value, .boolean, key: key) else { continue }
                inbox.requireEndMarker = value
            case "max_bytes":
                guard case .string(let text)? = values.parse(entry.value, .size, key: key),
                    let bytes = Quantity.bytes(text)
                else { continue }
                guard (1...1 << 20).contains(bytes) else {
                    values.findings.append(
                        Finding(
                            .outOfRange, at: entry.value.mark, pointer: entry.value.pointer,
                            "\(key): expected at most 1MiB, got \(entry.value.description)"))
                    continue
                }
                inbox.maxBytes = bytes
            default:
                unknown(entry, "inbox.", Self.inboxKeys)
                continue
            }
            written.insert(key)
        }
    }

    private mutating func parseReport(_ node: SourceNode) {
        for entry in mapping(node, "report") {
            guard entry.key == "examples" else {
                unknown(entry, "report.", ["examples"])
                continue
            }
            guard case .bool(let value)? = values.parse(entry.value, .boolean, key: "report.examples") else { continue }
            report.examples = value
            written.insert("report.examples")
        }
    }

    private mutating func parseDefaults(_ node: SourceNode) {
        if node.isNull { return }
        let own = ["version", "name", "run.idempotency_key", "run.hold", "run.at", "run.after"]
        var parser = ManifestParser(
            excluding: Dictionary(
                uniqueKeysWithValues: own.map { ($0, "it has no default; each manifest writes its own") }))
        parser.parse(node)
        values.findings += parser.findings
        defaults = parser.layer
    }

    mutating func mapping(_ node: SourceNode, _ key: String) -> [SourceNode.Entry] {
        if node.isNull { return [] }
        if let entries = node.entries { return entries }
        values.findings.append(
            Finding(
                .wrongType, at: node.mark, pointer: node.pointer,
                "\(key): expected a mapping of keys, got \(node.description)"))
        return []
    }

    mutating func unknown(_ entry: SourceNode.Entry, _ prefix: String, _ known: [String]) {
        let near = KeySuggestion.nearest(entry.key, among: known)
        values.findings.append(
            Finding(
                .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                "\(prefix)\(PrintableText.line(entry.key, limit: 60)): unknown key",
                hint: near.map { "did you mean \($0)?" } ?? "known here: \(known.joined(separator: ", "))"))
    }
}
