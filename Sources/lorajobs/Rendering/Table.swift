import PipelineSpec

/// Rows under headings, aligned by what they look like and not by how many letters they have.
struct Table {
    struct Column {
        var title: String
        var isRightAligned = false
        /// Whether it gives way when the terminal is too narrow.
        var isFlexible = false
    }

    struct Cell: ExpressibleByStringLiteral {
        var text: String
        var color: Terminal.Color?

        /// Text from anywhere: control characters are made visible.
        init(_ text: String, _ color: Terminal.Color? = nil) {
            self.text = PrintableText.line(text, limit: 500)
            self.color = color
        }

        init(stringLiteral text: String) { self.init(text) }
    }

    var columns: [Column]
    private(set) var rows: [[Cell]] = []

    init(_ columns: [Column]) { self.columns = columns }

    /// One column a word; `>` before a word aligns it to the right, `~` lets it give way.
    init(_ titles: String) {
        columns = titles.split(separator: " ").map { word in
            let title = word.drop { $0 == ">" || $0 == "~" }
            let marks = word.dropLast(title.count)
            return Column(
                title: String(title), isRightAligned: marks.contains(">"), isFlexible: marks.contains("~"))
        }
    }

    /// Adds a row; missing cells are empty.
    mutating func add(_ cells: [Cell]) {
        rows.append(cells + Array(repeating: Cell(""), count: max(0, columns.count - cells.count)))
    }

    /// The lines, each ended.
    ///
    /// No line ends in spaces.
    func text(_ terminal: Terminal) -> String {
        var widths = columns.indices.map { index in
            rows.reduce(DisplayWidth.of(columns[index].title)) { max($0, DisplayWidth.of($1[index].text)) }
        }
        if let limit = terminal.width {
            var excess = widths.reduce(0, +) + 2 * (widths.count - 1) - limit
            for index in columns.indices.reversed() where columns[index].isFlexible && excess > 0 {
                let cut = min(excess, max(0, widths[index] - 8))
                widths[index] -= cut
                excess -= cut
            }
        }
        let heading = columns.map { Cell($0.title, .bold) }
        return ([heading] + rows).map { line($0, widths, terminal) + "\n" }.joined()
    }

    private func line(_ cells: [Cell], _ widths: [Int], _ terminal: Terminal) -> String {
        let last = cells.lastIndex { !$0.text.isEmpty } ?? 0
        return zip(cells, widths).enumerated().prefix(last + 1).map { index, pair in
            let (cell, width) = pair
            let text = DisplayWidth.fit(cell.text, in: width)
            let isRight = columns[index].isRightAligned
            let padded = index == last && !isRight ? text : DisplayWidth.pad(text, to: width, right: isRight)
            return terminal.paint(padded, cell.color)
        }.joined(separator: "  ")
    }
}
