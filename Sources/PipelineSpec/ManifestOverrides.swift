package import Foundation
import Yams

/// `--set KEY=VALUE`: a manifest with some of its values replaced before it is submitted.
package enum ManifestOverrides {
    /// The manifest of `data` with each `train.epochs=1` applied, as YAML. Comments are lost; what is written
    /// stays as it was written. Setting one of two keys that exclude each other removes the other.
    ///
    /// - Throws: ``SpecError`` for an assignment that is none, or for a key the manifest does not have;
    ///   ``InvalidFile`` when `data` is not YAML.
    package static func apply(_ assignments: [String], to data: Foundation.Data) throws -> Foundation.Data {
        var root = try DocumentReader().read(data)
        for assignment in assignments {
            guard let equals = assignment.firstIndex(of: "=") else {
                throw SpecError(.key, "--set \(PrintableText.line(assignment, limit: 80)): expected KEY=VALUE")
            }
            let path = assignment[..<equals].trimmingCharacters(in: .whitespaces)
            let text = String(assignment[assignment.index(after: equals)...])
            try check(path)
            let value = try parse(text, path)
            if let other = ManifestSchema.field(path)?.excludes {
                root = removing(other.split(separator: ".").map(String.init)[...], from: root)
            }
            root = setting(path.split(separator: ".").map(String.init)[...], to: value, in: root, path: "")
        }
        do {
            return Foundation.Data(try serialize(node: node(root), width: -1, allowUnicode: true).utf8)
        } catch {
            throw SpecError(.format, "cannot write the manifest as YAML: \(error)")
        }
    }

    private static func check(_ path: String) throws {
        if ManifestSchema.isKnown(path) { return }
        // `merge.dtype` and the like lie inside a field.
        var words = path.split(separator: ".").map(String.init)
        let key = words.popLast() ?? ""
        let parent = words.joined(separator: ".")
        if let field = ManifestSchema.field(parent) {
            switch field.constraint {
            case .switchable(_, let members) where members.contains { $0.key == key }: return
            case .columns where ValueConstraint.columnNames.contains(key): return
            case .base where key == "config" || key == "init": return
            default: break
            }
        }
        let hint = KeySuggestion.hint(for: key, in: parent).map { "; \($0)" } ?? ""
        throw SpecError(.key, "--set \(PrintableText.line(path, limit: 80)): unknown key\(hint)")
    }

    private static func parse(_ text: String, _ path: String) throws -> SourceNode {
        if text.trimmingCharacters(in: .whitespaces).isEmpty { return scalar("") }
        do {
            return try DocumentReader().read(Foundation.Data(text.utf8))
        } catch let error as InvalidFile {
            // `--set data=*.jsonl` and the like: on a command line quotation marks are the shell's.
            if error.findings.first?.code == .empty { return scalar(text) }
            if text.hasPrefix("*") || text.hasSuffix("%") || text.hasPrefix("%") || text.hasPrefix("@") {
                return SourceNode(content: .scalar(Scalar(text: text, isQuoted: true)), mark: start, pointer: "")
            }
            throw SpecError(.key, "--set \(path): \(error.description)")
        }
    }

    private static let start = SourceMark(line: 1, column: 1)

    private static func scalar(_ text: String) -> SourceNode {
        SourceNode(content: .scalar(Scalar(text: text, isQuoted: false)), mark: start, pointer: "")
    }

    /// A manifest with the value at a path replaced; the other nodes keep their places.
    static func setting(
        _ words: ArraySlice<String>, to value: SourceNode, in node: SourceNode, path: String
    ) -> SourceNode {
        guard let word = words.first else { return value }
        var result = node
        var entries = node.entries ?? []
        if node.entries == nil, path == "data", !node.isNull {
            // `data: FILES` is short for `data: {train: FILES}`.
            entries = [SourceNode.Entry(key: "train", keyMark: start, value: node)]
        }
        let inner = path.isEmpty ? word : "\(path).\(word)"
        if let index = entries.firstIndex(where: { $0.key == word }) {
            entries[index].value = setting(words.dropFirst(), to: value, in: entries[index].value, path: inner)
        } else {
            let empty = SourceNode(content: .mapping([]), mark: start, pointer: "")
            entries.append(
                SourceNode.Entry(
                    key: word, keyMark: start, value: setting(words.dropFirst(), to: value, in: empty, path: inner)))
        }
        result.content = .mapping(entries)
        return result
    }

    /// A manifest without what is written at a path.
    static func removing(_ words: ArraySlice<String>, from node: SourceNode) -> SourceNode {
        guard let word = words.first, var entries = node.entries else { return node }
        var result = node
        if words.count == 1 {
            entries.removeAll { $0.key == word }
        } else if let index = entries.firstIndex(where: { $0.key == word }) {
            entries[index].value = removing(words.dropFirst(), from: entries[index].value)
        }
        result.content = .mapping(entries)
        return result
    }

    private static func node(_ source: SourceNode) -> Node {
        switch source.content {
        case .scalar(let scalar): Node(scalar.text, .implicit, scalar.isQuoted ? .doubleQuoted : .plain)
        case .sequence(let elements): Node(elements.map(node), .implicit, .flow)
        case .mapping(let entries):
            Node(entries.map { (Node($0.key, .implicit, keyStyle($0.key)), node($0.value)) }, .implicit, .block)
        }
    }

    private static func keyStyle(_ key: String) -> Node.Scalar.Style {
        key.wholeMatch(of: #/[A-Za-z_][A-Za-z0-9_.-]*/#) == nil ? .doubleQuoted : .plain
    }
}
