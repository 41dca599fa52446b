import Foundation

/// Reads the keys of `lorajobs.yaml`.
struct SettingsParser {
    private(set) var roots: [String] = []
    private(set) var queues: [String: WorkspaceSettings.Queue] = [:]
    private(set) var inbox = WorkspaceSettings.Inbox()
    private(set) var defaults = ManifestLayer()
    private(set) var written: Set<String> = []
    private var values = ValueParser()

    private static let known = ["version", "roots", "queues", "inbox", "defaults"]
    private static let planned = ["tenants", "retention", "notify"]
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
            case "inbox": parseInbox(entry.value)
            case "defaults": parseDefaults(entry.value)
            case let key where Self.planned.contains(key):
                values.findings.append(
                    Finding(
                        .unsupported, at: entry.keyMark, pointer: entry.value.pointer,
                        "\(key) is not built yet", hint: "leave it out"))
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

    private mutating func parseQueues(_ node: SourceNode) {
        for entry in mapping(node, "queues") {
            guard ValueConstraint.isName(entry.key) else {
                values.findings.append(
                    Finding(
                        .invalidValue, at: entry.keyMark, pointer: entry.value.pointer,
                        "queues: expected \(ValueConstraint.name.expectation), got \(PrintableText.quoted(entry.key))"))
                continue
            }
            var queue = WorkspaceSettings.Queue()
            for inner in mapping(entry.value, "queues.\(entry.key)") {
                let key = "queues.\(entry.key).\(inner.key)"
                guard inner.key == "max_jobs" else {
                    unknown(inner, "queues.\(entry.key).", ["max_jobs"])
                    continue
                }
                if case .integer(let count)? = values.parse(inner.value, .integer(1...1000), key: key) {
                    queue.maxJobs = count
                    written.insert(key)
                }
            }
            queues[entry.key] = queue
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

    private mutating func mapping(_ node: SourceNode, _ key: String) -> [SourceNode.Entry] {
        if node.isNull { return [] }
        if let entries = node.entries { return entries }
        values.findings.append(
            Finding(
                .wrongType, at: node.mark, pointer: node.pointer,
                "\(key): expected a mapping of keys, got \(node.description)"))
        return []
    }

    private mutating func unknown(_ entry: SourceNode.Entry, _ prefix: String, _ known: [String]) {
        let near = KeySuggestion.nearest(entry.key, among: known)
        values.findings.append(
            Finding(
                .unknownKey, at: entry.keyMark, pointer: entry.value.pointer,
                "\(prefix)\(PrintableText.line(entry.key, limit: 60)): unknown key",
                hint: near.map { "did you mean \($0)?" } ?? "known here: \(known.joined(separator: ", "))"))
    }
}
