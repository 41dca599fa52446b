package import PipelineSpec

/// Which class was taken for which, on one set of examples.
package struct Confusion: Sendable, Equatable {
    /// One kind of mistake: examples of one class that were taken for another.
    package struct Mistake: Sendable, Equatable {
        package let right: String
        package let taken: String
        package let count: Int
    }

    /// The set of examples, as the evaluation calls it.
    package let set: String
    /// The names of the classes by index.
    package let classes: [String]
    /// Rows are what is right, columns what was taken for it.
    package let counts: [[Int]]

    /// Reads what an evaluation says of a set.
    ///
    /// - Parameter names: the names of the classes by index; a class beyond them is called by its index.
    /// - Returns: `nil` where nothing is chosen between classes.
    package init?(_ report: JSONValue, names: [String]) {
        guard let rows = report["confusion"]?.list, !rows.isEmpty else { return nil }
        let counts = rows.map { row in (row.list ?? []).map { Int($0.double ?? 0) } }
        guard counts.allSatisfy({ $0.count == counts.count }) else { return nil }
        if case .string(let name)? = report["name"] { set = name } else { set = "" }
        classes = counts.indices.map { names.indices.contains($0) ? names[$0] : "\($0)" }
        self.counts = counts
    }

    /// The mistakes, the most frequent first.
    package var mistakes: [Mistake] {
        var found: [Mistake] = []
        for (row, values) in counts.enumerated() {
            for (column, count) in values.enumerated() where row != column && count > 0 {
                found.append(Mistake(right: classes[row], taken: classes[column], count: count))
            }
        }
        return found.sorted { ($1.count, $0.right, $0.taken) < ($0.count, $1.right, $1.taken) }
    }

    /// The most frequent mistakes on a line: `12 world taken for sports, 3 …`; `nil` where there are none.
    package func summary(_ limit: Int = 3) -> String? {
        let all = mistakes
        guard !all.isEmpty else { return nil }
        let first = all.prefix(limit).map { "\($0.count) \($0.right) taken for \($0.taken)" }
        let rest = all.dropFirst(limit).reduce(0) { $0 + $1.count }
        return (first + (rest > 0 ? ["\(rest) others"] : [])).joined(separator: ", ")
    }

    var json: JSONValue {
        .object([
            "classes": .array(classes.map { .string($0) }),
            "counts": .array(counts.map { .array($0.map { .integer($0) }) }),
        ])
    }
}

extension RunReport {
    /// More classes than this are shown as a list of the most frequent mistakes.
    private static let widestTable = 16

    /// One table for each set on which classes were chosen.
    var confusionTables: String {
        confusions.map { confusion in
            let heading = "<h3>\(text(confusion.set))</h3>"
            return confusion.classes.count > Self.widestTable
                ? heading + mistakeTable(confusion) : heading + countTable(confusion)
        }.joined(separator: "\n")
    }

    /// Rows are what is right; a cell is as dark as its share of the row.
    private func countTable(_ confusion: Confusion) -> String {
        let header = confusion.classes.map { "<th class=\"number\">\(text($0))</th>" }.joined()
        let rows = zip(confusion.classes, confusion.counts).enumerated().map { index, row in
            let total = max(row.1.reduce(0, +), 1)
            let cells = row.1.enumerated().map { column, count in
                // In hundredths of the whole, since the page has no other way to say a share.
                let share = 100 * count / total
                let kind = column == index ? "right" : "wrong"
                return "<td class=\"number \(kind)\" style=\"--share: \(share)%\">\(count)</td>"
            }
            return "<tr><th>\(text(row.0))</th>\(cells.joined())</tr>\n"
        }
        return "<table class=\"confusion\"><thead><tr><th>is, and taken for</th>\(header)</tr></thead><tbody>\n"
            + rows.joined() + "</tbody></table>"
    }

    private func mistakeTable(_ confusion: Confusion) -> String {
        let mistakes = confusion.mistakes
        let rows = mistakes.prefix(20).map { [$0.right, $0.taken, "\($0.count)"] }
        let rest = mistakes.dropFirst(20).reduce(0) { $0 + $1.count }
        let note = rest > 0 ? "<p class=\"none\">And \(rest) examples in rarer mistakes.</p>" : ""
        return rows.isEmpty
            ? "<p class=\"none\">Every example was taken for what it is.</p>"
            : table(["is", "was taken for", "times"], rows, numbers: [2]) + note
    }
}
