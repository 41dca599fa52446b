import Foundation

/// A regular expression over module paths, written for Python's `re` as PEFT takes it.
///
/// Foundation's dialect is another one, so a pattern is read by Python's grammar and written anew: what both mean alike
/// is kept, what only differs in spelling is respelt, and everything else is an error instead of a guess.
struct ModulePattern {
    private let expression: NSRegularExpression

    /// A pattern for a whole path, as `re.fullmatch` takes it.
    ///
    /// - Throws: ``AdapterError`` that shows the place.
    init(matchingAllOf pattern: String) throws {
        try self.init(translated: "(?:\(try PythonPattern.translate(pattern)))", pattern)
    }

    /// A pattern for a path or its last components, as PEFT matches keys of `rank_pattern`.
    init(matchingEndOf pattern: String) throws {
        try self.init(translated: "(?:.*\\.)?(?:\(try PythonPattern.translate(pattern)))", pattern)
    }

    /// A pattern for the layer number in a path: the digits behind a component that `name` describes, or any if `nil`.
    init(layerNumberAfter name: String?) throws {
        let component = try name.map { pattern in
            // PEFT puts the text between two others; a group or an alternative would change what those mean.
            guard !pattern.contains(where: "(|)".contains) else {
                throw AdapterError(
                    .unsupported, "layers_pattern \"\(pattern)\": groups and alternatives are not supported")
            }
            return try PythonPattern.translate(pattern)
        }
        try self.init(translated: ".*?\\.\(component ?? "[^.]*")\\.([0-9]+)\\..*", name ?? "")
    }

    private init(translated: String, _ pattern: String) throws {
        do {
            expression = try NSRegularExpression(pattern: "\\A\(translated)\\z")
        } catch {
            throw AdapterError(.configuration, "\"\(pattern)\" is not a regular expression")
        }
    }

    func matches(_ path: String) -> Bool { match(path) != nil }

    /// What the first group matched, when the pattern does.
    func firstGroup(in path: String) -> String? {
        guard let match = match(path), let range = Range(match.range(at: 1), in: path) else { return nil }
        return String(path[range])
    }

    private func match(_ path: String) -> NSTextCheckingResult? {
        expression.firstMatch(in: path, range: NSRange(path.startIndex..., in: path))
    }
}
