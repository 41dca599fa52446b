import Yams

/// What a YAML parser's complaint means to the person who wrote the file.
///
/// The parser's own text is not passed on: it repeats the offending line, however long.
struct YAMLDiagnosis {
    let finding: Finding

    init(_ error: YamlError, in text: SourceText) {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _):
            let place = SourceMark(line: mark.line, column: mark.column)
            finding = Self.syntax(problem, context: context?.text, at: place, in: text)
        case .composer(let context, let problem, let mark, _):
            let place = SourceMark(line: mark.line, column: mark.column)
            if problem.contains("alias") {
                finding = Finding(
                    .anchor, at: place, "anchors and aliases are not accepted",
                    hint: "put a pattern that starts with * in quotation marks")
            } else if context?.text.contains("single document") == true {
                finding = Finding(
                    .multipleDocuments, at: place, "the file holds more than one document",
                    hint: "one file is one job; leave out what follows ---")
            } else {
                finding = Self.syntax(problem, context: context?.text, at: place, in: text)
            }
        case .duplicatedKeysInMapping(let duplicates, let context):
            let first = SourceMark(line: context.mark.line, column: context.mark.column)
            let key = duplicates.first ?? ""
            // The parser's word for a key that is a list or a mapping.
            let name = key == "<uncovertable>" ? "a key" : "the key \(PrintableText.quoted(key))"
            finding = Finding(
                .duplicateKey, at: Self.repetition(of: key, after: first, in: text) ?? first,
                "\(name) is written twice",
                hint: "the first is in line \(first.line); keep one")
        case .reader(let problem, _, _, _):
            finding = Finding(.syntax, "not YAML: \(problem)")
        default:
            finding = Finding(.syntax, "not YAML: \(error)")
        }
    }

    private static func syntax(
        _ problem: String, context: String?, at mark: SourceMark, in text: SourceText
    ) -> Finding {
        let sentence = [context, problem].compactMap { $0 }.filter { !$0.isEmpty }.joined(separator: ", ")
        if problem.contains("nesting level") {
            return Finding(.tooDeep, at: mark, "nested far too deep")
        }
        if context?.contains("alias") == true {
            // The parser points behind the asterisk.
            let place = SourceMark(line: mark.line, column: max(1, mark.column - 1))
            return Finding(
                .syntax, at: place, "not YAML: a value cannot start with an asterisk",
                hint: "put a pattern that starts with * in quotation marks")
        }
        if text.offset(of: mark) >= text.contentEnd {
            return Finding(
                .truncated, at: text.mark(at: text.contentEnd), "the file ends in the middle of something: \(sentence)",
                hint: "the file looks truncated; write it under another name and rename it when it is whole")
        }
        return Finding(.syntax, at: mark, "not YAML: \(sentence)", hint: hint(problem, at: mark, in: text))
    }

    private static func hint(_ problem: String, at mark: SourceMark, in text: SourceText) -> String? {
        if problem.contains("cannot start any token"), text.scalar(at: mark) == "\t" {
            return "indent with spaces, not tabs"
        }
        if problem.contains("mapping values are not allowed") {
            return "put a value that holds a colon in quotation marks, or check the indentation"
        }
        if problem.contains("Unicode character escape") { return "write the character itself" }
        return nil
    }

    /// Where a key that the parser saw twice stands the second time, in the usual one-key-a-line layout.
    private static func repetition(of key: String, after first: SourceMark, in text: SourceText) -> SourceMark? {
        let spellings = [key, "\"\(key)\"", "'\(key)'"].map { Array(($0 + ":").unicodeScalars) }
        guard first.line < text.lineCount else { return sameLine(key, after: first, in: text) }
        if let mark = sameLine(key, after: first, in: text) { return mark }
        for number in (first.line + 1)...text.lineCount {
            let rest = text.line(number).dropFirst(first.column - 1)
            let isIndented = text.line(number).prefix(first.column - 1).allSatisfy { $0 == " " }
            if isIndented, spellings.contains(where: { rest.starts(with: $0) }) {
                return SourceMark(line: number, column: first.column)
            }
        }
        return nil
    }

    /// The repetition within one line of a flow mapping.
    private static func sameLine(_ key: String, after first: SourceMark, in text: SourceText) -> SourceMark? {
        let line = Array(text.line(first.line))
        let needle = Array(key.unicodeScalars)
        let behind = first.column + needle.count
        guard !needle.isEmpty, behind < line.count else { return nil }
        for start in behind..<line.count where line[start...].starts(with: needle) {
            let end = line[(start + needle.count)...].drop { $0 == "\"" || $0 == "'" }
            let isOpen = start == 0 || " {,\"'".unicodeScalars.contains(line[start - 1])
            if isOpen, end.first == ":" {
                let isQuoted = start > 0 && (line[start - 1] == "\"" || line[start - 1] == "'")
                return SourceMark(line: first.line, column: isQuoted ? start : start + 1)
            }
        }
        return nil
    }
}
