package import Foundation
import Yams

/// Reads one YAML or JSON document out of bytes that nobody vouches for.
///
/// What a manifest has no use for is refused: anchors, aliases, tags, merge keys, duplicate keys, several
/// documents, control characters. The walk costs no more than the file is long.
package struct DocumentReader: Sendable {
    /// The most bytes, levels of nesting, values, and bytes of one value.
    package var maxBytes = 1 << 20
    package var maxDepth = 32
    package var maxNodes = 10_000
    package var maxScalarBytes = 1 << 16

    package init() {}

    /// The document's root.
    ///
    /// - Throws: ``InvalidFile`` with one finding.
    package func read(_ data: Data) throws -> SourceNode {
        let text = try SourceText(data, maxBytes: maxBytes)
        try refuseAliasStorm(in: text)
        let root: Node
        do {
            guard let node = try Parser(yaml: text.string, encoding: .utf8).singleRoot() else {
                throw InvalidFile([Finding(.empty, "the file is empty")])
            }
            root = node
        } catch let error as YamlError {
            throw InvalidFile([YAMLDiagnosis(error, in: text).finding])
        }
        var walk = Walk(text: text, reader: self)
        let tree = try walk.convert(root, pointer: "", depth: 1)
        if tree.isNull, tree.scalar?.isQuoted == false { throw InvalidFile([Finding(.empty, "the file is empty")]) }
        return tree
    }

    /// Refuses a file with more than a handful of aliases before the composer sees it: the composer hashes
    /// mapping keys, and a key that is an alias of aliases costs exponential time there. Fewer are harmless and
    /// are refused, with their exact place, by the walk.
    private func refuseAliasStorm(in text: SourceText) throws {
        var anchors: Set<String> = []
        var first: SourceMark?
        var aliases = 0
        var previous: Unicode.Scalar = "\n"
        for (offset, scalar) in text.scalars.enumerated() {
            defer { previous = scalar }
            guard scalar == "&" || scalar == "*", SourceText.mayPrecedeToken(previous) else { continue }
            let name = text.scalars[(offset + 1)...].prefix { SourceText.isAnchorCharacter($0) }
            if name.isEmpty { continue }
            let key = String(String.UnicodeScalarView(name))
            if scalar == "&" {
                anchors.insert(key)
                first = first ?? text.mark(at: offset)
            } else if anchors.contains(key) {
                aliases += 1
                if aliases > 8 {
                    throw InvalidFile([
                        Finding(
                            .anchor, at: first, "anchors and aliases are not accepted",
                            hint: "write the value out where it is used")
                    ])
                }
            }
        }
    }

    private struct Walk {
        let text: SourceText
        let reader: DocumentReader
        var nodes = 0

        mutating func convert(_ node: Node, pointer: String, depth: Int) throws -> SourceNode {
            let mark = node.mark.map { SourceMark(line: $0.line, column: $0.column) } ?? SourceMark(line: 1, column: 1)
            try refuseProperties(of: node, at: mark, pointer: pointer)
            nodes += 1
            if nodes > reader.maxNodes {
                throw refusal(.tooManyNodes, mark, pointer, "the file holds more than \(reader.maxNodes) values")
            }
            if depth > reader.maxDepth {
                throw refusal(.tooDeep, mark, pointer, "nested more than \(reader.maxDepth) levels deep")
            }
            switch node {
            case .alias:
                throw refusal(.anchor, mark, pointer, "anchors and aliases are not accepted")
            case .scalar(let scalar):
                return SourceNode(
                    content: .scalar(try checked(scalar, at: mark, pointer: pointer)), mark: mark, pointer: pointer)
            case .sequence(let sequence):
                var elements: [SourceNode] = []
                for (index, element) in sequence.enumerated() {
                    elements.append(try convert(element, pointer: "\(pointer)/\(index)", depth: depth + 1))
                }
                return SourceNode(content: .sequence(elements), mark: mark, pointer: pointer)
            case .mapping(let mapping):
                var entries: [SourceNode.Entry] = []
                var seen: Set<String> = []
                for (keyNode, value) in mapping {
                    let entry = try convertEntry(keyNode, value, pointer: pointer, depth: depth)
                    guard seen.insert(entry.key).inserted else {
                        throw refusal(
                            .duplicateKey, entry.keyMark, entry.value.pointer,
                            "the key \(PrintableText.quoted(entry.key)) is written twice")
                    }
                    entries.append(entry)
                }
                return SourceNode(content: .mapping(entries), mark: mark, pointer: pointer)
            }
        }

        private mutating func convertEntry(
            _ keyNode: Node, _ value: Node, pointer: String, depth: Int
        ) throws -> SourceNode.Entry {
            let key = try convert(keyNode, pointer: pointer, depth: depth + 1)
            guard let scalar = key.scalar else {
                throw refusal(.wrongType, key.mark, pointer, "a key must be a word, not \(key.description)")
            }
            if scalar.text == "<<", !scalar.isQuoted {
                throw refusal(.mergeKey, key.mark, pointer, "merge keys (<<) are not accepted")
            }
            let inner = try convert(
                value, pointer: SourceNode.pointer(pointer, PrintableText.line(scalar.text, limit: 64)),
                depth: depth + 1)
            return SourceNode.Entry(key: scalar.text, keyMark: key.mark, value: inner)
        }

        /// The source itself says whether a node carries an anchor or a tag: it then starts with one. An alias
        /// cannot exist without an anchor before it, so none is ever followed.
        private func refuseProperties(of node: Node, at mark: SourceMark, pointer: String) throws {
            let start = text.scalar(at: mark)
            if start == "&" || start == "*" || node.anchor != nil {
                throw refusal(
                    .anchor, mark, pointer, "anchors and aliases are not accepted",
                    hint: "write the value out where it is used")
            }
            if start == "!" {
                throw refusal(.tag, mark, pointer, "tags are not accepted", hint: "leave out the word after !")
            }
        }

        private func checked(_ scalar: Node.Scalar, at mark: SourceMark, pointer: String) throws -> Scalar {
            if scalar.string.utf8.count > reader.maxScalarBytes {
                throw refusal(.valueTooLong, mark, pointer, "the value is longer than \(reader.maxScalarBytes) bytes")
            }
            let bad = scalar.string.unicodeScalars.first { SourceText.isForbidden($0) }
            if let bad {
                throw refusal(
                    .controlCharacter, mark, pointer,
                    "the value holds the control character \(PrintableText.line(String(bad), limit: 12))")
            }
            return Scalar(text: scalar.string, isQuoted: scalar.style != .plain)
        }

        private func refusal(
            _ code: Finding.Code, _ mark: SourceMark, _ pointer: String, _ message: String, hint: String? = nil
        ) -> InvalidFile {
            InvalidFile([Finding(code, at: mark, pointer: pointer, message, hint: hint)])
        }
    }
}
