package import Foundation

/// What `validate --json` prints and `.error.json` holds, and the same for people.
package struct ValidationReport: Sendable, Equatable {
    /// The most findings that a report shows.
    package static let limit = 20

    /// At most ``limit`` findings, in the order of the lines.
    package let findings: [Finding]
    /// How many more there were.
    package let omitted: Int
    /// Whether no finding is an error.
    package let isValid: Bool

    /// - Parameter omitted: How many were left out before, when `findings` come out of a report.
    package init(_ findings: [Finding], omitted: Int = 0) {
        let ordered = findings.inLineOrder
        self.findings = Array(ordered.prefix(Self.limit))
        self.omitted = omitted + max(0, ordered.count - Self.limit)
        isValid = !ordered.hasErrors
    }

    /// The report that ``json`` was made of.
    ///
    /// - Throws: What the decoder says of JSON that is no report.
    package init(decoding json: Data) throws {
        struct Report: Decodable {
            var findings: [Finding]
            var omitted: Int?
        }
        let report = try ProtocolJSON.decode(Report.self, from: json)
        self.init(report.findings, omitted: report.omitted ?? 0)
    }

    /// `{"schema":1,"valid":…,"findings":[…]}`, with `"omitted"` when findings were left out.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "schema": .integer(1), "valid": .bool(isValid),
            "findings": .array(
                findings.map { finding in
                    .object([
                        "code": .string(finding.code.rawValue), "severity": .string(finding.severity.rawValue),
                        "line": finding.line.map { .integer($0) } ?? .null,
                        "column": finding.column.map { .integer($0) } ?? .null,
                        "pointer": .string(finding.pointer), "message": .string(finding.message),
                        "hint": finding.hint.map { .string($0) } ?? .null,
                    ])
                }),
        ]
        if omitted > 0 { members["omitted"] = .integer(omitted) }
        return .object(members)
    }

    /// `2 problems and 1 warning`. What was left out counts as problems.
    package var count: String {
        let warnings = findings.count { $0.severity == .warning }
        func words(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
        return words(findings.count - warnings + omitted, "problem")
            + (warnings > 0 ? " and \(words(warnings, "warning"))" : "")
    }

    /// The finding to tell where there is room for one: the first that is wrong, with what to do about it.
    package var summary: String {
        guard let first = findings.first(where: { $0.severity != .warning }) ?? findings.first else { return "" }
        let others = findings.count { $0.severity == first.severity } + omitted - 1
        return (first.line.map { "line \($0): " } ?? "") + first.message + (first.hint.map { "; \($0)" } ?? "")
            + (others > 0 ? " (and \(others) more)" : "")
    }

    /// The text of `.error.txt`: what is wrong, where, and the lines themselves with a mark under each fault.
    ///
    /// - Parameters:
    ///   - file: the name the file was dropped under.
    ///   - source: its bytes, quoted where they are text.
    ///   - consequence: the sentences after the count.
    package func text(
        file: String, source: Data,
        consequence: String = "Nothing was queued. Fix and drop it again."
    ) -> String {
        let name = PrintableText.line(file, limit: 120)
        var out = "\(name) was not accepted (\(count)). \(consequence)\n"
        let places = findings.map { finding in
            finding.line.map { "line \($0), col \(finding.column ?? 1)" } ?? "file"
        }
        let width = places.map(\.count).max() ?? 0
        for (finding, place) in zip(findings, places) {
            let level = finding.severity == .warning ? "warning: " : ""
            out += "  " + place.padding(toLength: width, withPad: " ", startingAt: 0)
            out += "   \(level)\(finding.message)" + (finding.hint.map { "; \($0)" } ?? "") + "\n"
        }
        if omitted > 0 { out += "  and \(omitted) more\n" }
        return out + excerpt(of: source)
    }

    private func excerpt(of source: Data) -> String {
        guard source.count <= 1 << 20, let string = String(validating: source, as: UTF8.self) else { return "" }
        let text = SourceText(string.hasPrefix("\u{FEFF}") ? String(string.unicodeScalars.dropFirst()) : string)
        let gutter = String(findings.compactMap(\.line).max() ?? 0).count
        var out = ""
        var shown = 0
        for finding in findings {
            guard let line = finding.line, line <= text.lineCount else { continue }
            let window = SourceWindow(text.line(line), column: finding.column ?? 1)
            let margin = String(repeating: " ", count: gutter + 2)
            if line != shown {
                let number = String(line)
                out += String(repeating: " ", count: gutter + 2 - number.count) + "\(number) | \(window.text)\n"
            }
            out += "\(margin) | \(window.carets)\n"
            shown = line
        }
        return out.isEmpty ? "" : "\n" + out
    }
}

/// A piece of a line, short enough for a terminal, and the marks under one word of it.
private struct SourceWindow {
    let text: String
    let carets: String

    init(_ line: ArraySlice<Unicode.Scalar>, column: Int) {
        let width = 96
        let scalars = Array(line)
        // The place inside a value of several lines may be beyond the end of the first.
        let at = max(0, min(column - 1, scalars.count))
        let start = at < width - 24 ? 0 : at - 24
        let visible = scalars.dropFirst(start).prefix(width).map { scalar in
            // One column each, so that the marks stand where they should.
            PrintableText.isUnsafe(scalar) ? (scalar == "\t" ? " " : "\u{FFFD}") : scalar
        }
        text = (start > 0 ? "…" : "") + String(String.UnicodeScalarView(visible))
        let word = scalars.dropFirst(at)
        let count: Int
        if let quote = word.first, quote == "\"" || quote == "'" {
            count = (word.dropFirst().firstIndex(of: quote) ?? at) - at + 1
        } else {
            count = word.prefix { !" \t:,]}#".unicodeScalars.contains($0) }.count
        }
        let indent = at - start + (start > 0 ? 1 : 0)
        carets =
            String(repeating: " ", count: indent)
            + String(repeating: "^", count: max(1, min(count, width - (at - start))))
    }
}
