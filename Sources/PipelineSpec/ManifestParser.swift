import Foundation

/// The values one file writes, by dotted path, before anything is looked up.
struct ManifestLayer: Sendable {
    struct Entry: Sendable {
        var value: JSONValue
        /// The value in the file.
        var node: SourceNode
    }

    var entries: [String: Entry] = [:]
    /// Paths that are written but wrong: nothing more is said about them.
    var refused: Set<String> = []

    func isWritten(_ path: String) -> Bool { entries[path] != nil || refused.contains(path) }
}

/// Reads the keys of a manifest, or of the `defaults:` in the settings, by ``ManifestSchema``.
struct ManifestParser {
    private(set) var layer = ManifestLayer()
    private(set) var values: ValueParser
    /// Top-level keys that somebody else reads.
    private let foreignKeys: Set<String>
    private let excludedKeys: [String: String]

    /// - Parameters:
    ///   - passing: top-level keys to leave alone, such as `schedule`.
    ///   - excluding: fields that have no place in this file, and why.
    init(
        timeZone: TimeZone = .current, passing foreignKeys: Set<String> = [],
        excluding excludedKeys: [String: String] = [:]
    ) {
        values = ValueParser(timeZone: timeZone)
        self.foreignKeys = foreignKeys
        self.excludedKeys = excludedKeys
    }

    var findings: [Finding] { values.findings }

    /// Reads the root of a file.
    mutating func parse(_ root: SourceNode) {
        guard let entries = root.entries else {
            values.findings.append(
                Finding(
                    .wrongType, at: root.mark,
                    "a manifest is a mapping of keys, not \(root.description)", hint: "start with: name: my-adapter"))
            return
        }
        for entry in entries where !foreignKeys.contains(entry.key) { parse(entry, in: "") }
        checkExclusions()
    }

    private mutating func parse(_ entry: SourceNode.Entry, in section: String) {
        let path = section.isEmpty ? entry.key : "\(section).\(entry.key)"
        if let why = excludedKeys[path] {
            note(.invalidValue, entry, "\(path): \(why)", hint: "leave it out")
        } else if let field = ManifestSchema.field(path), !entry.key.contains(".") {
            parse(entry.value, as: field)
        } else if ManifestSchema.isSection(path), !entry.key.contains(".") {
            parseSection(entry, path)
        } else {
            // Of a file of nothing but unknown keys only the first findings are ever shown.
            let hint = findings.count < 100 ? KeySuggestion.hint(for: entry.key, in: section) : nil
            note(.unknownKey, entry, "\(PrintableText.line(path, limit: 80)): unknown key", hint: hint)
        }
    }

    private mutating func parseSection(_ entry: SourceNode.Entry, _ path: String) {
        if let entries = entry.value.entries {
            for inner in entries { parse(inner, in: path) }
        } else if path == "data", !entry.value.isNull, let field = ManifestSchema.field("data.train") {
            parse(entry.value, as: field)
        } else if !entry.value.isNull {
            let first = ManifestSchema.children(of: path).first ?? ""
            values.findings.append(
                Finding(
                    .wrongType, at: entry.value.mark, pointer: entry.value.pointer,
                    "\(path): expected a mapping of keys, got \(entry.value.description)",
                    hint: "write \(path): {\(first): …}"))
        }
    }

    private mutating func parse(_ node: SourceNode, as field: ManifestField) {
        guard let value = values.parse(node, field.constraint, key: field.path) else {
            layer.refused.insert(field.path)
            return
        }
        layer.entries[field.path] = ManifestLayer.Entry(value: value, node: node)
    }

    private mutating func checkExclusions() {
        for field in ManifestSchema.fields {
            guard let other = field.excludes, field.path < other, let a = layer.entries[field.path]?.node,
                let b = layer.entries[other]?.node
            else { continue }
            let isLater = (a.mark.line, a.mark.column) > (b.mark.line, b.mark.column)
            let (node, path, first) = isLater ? (a, field.path, other) : (b, other, field.path)
            values.findings.append(
                Finding(
                    .conflict, at: node.mark, pointer: node.pointer,
                    "\(path): \(first) is written too, and only one of the two can hold", hint: "leave one out"))
        }
    }

    private mutating func note(
        _ code: Finding.Code, _ entry: SourceNode.Entry, _ message: String, hint: String? = nil
    ) {
        values.findings.append(
            Finding(code, at: entry.keyMark, pointer: entry.value.pointer, message, hint: hint))
    }
}
