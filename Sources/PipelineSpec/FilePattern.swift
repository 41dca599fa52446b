import Foundation

/// A path with `*`, `?`, `[…]` within one folder level and `**` over any number of them.
struct FilePattern: Sendable {
    /// Whether `path` holds any of the pattern's signs.
    static func isPattern(_ path: String) -> Bool { path.contains { "*?[".contains($0) } }

    private let segments: [Substring]

    /// The absolute pattern `path`.
    init(_ path: String) {
        var segments: [Substring] = []
        for segment in path.split(separator: "/") where !(segment == "**" && segments.last == "**") {
            segments.append(segment)
        }
        self.segments = segments
    }

    /// The folder that every match lies under.
    var fixedPrefix: String {
        "/" + segments.prefix { !Self.isPattern(String($0)) }.joined(separator: "/")
    }

    /// Every path that matches, sorted by its bytes; `nil` when more than `budget` folders would have to be
    /// listed. Names that begin with a dot match only a pattern that does. `**` does not follow symlinks.
    func matches(budget: Int = 20_000) -> [String]? {
        var found: Set<String> = []
        var budget = budget
        expand("", segments[...], into: &found, budget: &budget)
        return budget < 0 ? nil : found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private func expand(
        _ folder: String, _ rest: ArraySlice<Substring>, into found: inout Set<String>, budget: inout Int
    ) {
        guard let segment = rest.first else {
            found.insert(folder)
            return
        }
        if Self.isPattern(String(segment)) { budget -= 1 }
        if budget < 0 { return }
        let tail = rest.dropFirst()
        if segment == "**" {
            expand(folder, tail, into: &found, budget: &budget)
            for name in names(in: folder) where !name.hasPrefix(".") && isOwnFolder("\(folder)/\(name)") {
                expand("\(folder)/\(name)", rest, into: &found, budget: &budget)
            }
        } else if Self.isPattern(String(segment)) {
            let pattern = Array(segment)
            for name in names(in: folder) where segment.hasPrefix(".") || !name.hasPrefix(".") {
                if Self.match(pattern[...], Array(name)[...]) {
                    expand("\(folder)/\(name)", tail, into: &found, budget: &budget)
                }
            }
        } else if FileManager.default.fileExists(atPath: "\(folder)/\(segment)") {
            expand("\(folder)/\(segment)", tail, into: &found, budget: &budget)
        }
    }

    private func names(in folder: String) -> [String] {
        // A folder that cannot be listed matches nothing; the finding then says that nothing matched.
        (try? FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? "/" : folder)) ?? []
    }

    private func isOwnFolder(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Whether a name matches one segment. The position after the last `*` is all that is ever tried again, so
    /// the cost is at most pattern times name.
    static func match(_ pattern: ArraySlice<Character>, _ name: ArraySlice<Character>) -> Bool {
        var p = pattern.startIndex
        var n = name.startIndex
        var star: (pattern: Int, name: Int)?
        while n < name.endIndex {
            if p < pattern.endIndex, pattern[p] == "*" {
                star = (p, n)
                p += 1
            } else if p < pattern.endIndex, let next = step(pattern, p, name[n]) {
                p = next
                n += 1
            } else if let last = star {
                p = last.pattern + 1
                n = last.name + 1
                star = (last.pattern, n)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == "*" }
    }

    /// The position behind one `?`, set or letter that accepts `character`; `nil` when it does not.
    private static func step(_ pattern: ArraySlice<Character>, _ p: Int, _ character: Character) -> Int? {
        if pattern[p] == "?" { return p + 1 }
        let body = p + 1
        guard pattern[p] == "[", let close = pattern[min(body + 1, pattern.endIndex)...].firstIndex(of: "]") else {
            return pattern[p] == character ? p + 1 : nil
        }
        var set = pattern[body..<close]
        let isNegated = set.first == "!" || set.first == "^"
        if isNegated { set.removeFirst() }
        var accepts = false
        var index = set.startIndex
        while index < set.endIndex {
            if index + 2 < set.endIndex, set[index + 1] == "-" {
                if set[index] <= character, character <= set[index + 2] { accepts = true }
                index += 3
            } else {
                if set[index] == character { accepts = true }
                index += 1
            }
        }
        return accepts != isNegated ? close + 1 : nil
    }
}
