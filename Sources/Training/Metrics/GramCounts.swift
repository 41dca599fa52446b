/// How often each run of `n` neighbours occurs in a list.
struct GramCounts<Element: Hashable> {
    private(set) var counts: [ArraySlice<Element>: Int] = [:]
    private(set) var total = 0

    init(_ elements: [Element], n: Int) {
        guard elements.count >= n else { return }
        for start in 0...(elements.count - n) { counts[elements[start..<start + n], default: 0] += 1 }
        total = elements.count - n + 1
    }

    /// How many runs the two have in common, each as often as in the one that has fewer of it.
    func matches(_ other: GramCounts) -> Int {
        counts.reduce(0) { $0 + min($1.value, other.counts[$1.key] ?? 0) }
    }
}

extension Unicode.Scalar {
    /// What Python's `str.split()` takes for white space.
    var isPythonSpace: Bool { properties.isWhitespace || (0x1C...0x1F).contains(value) }
}

extension String {
    /// The words between white space, as Python's `str.split()`; by scalars, so that no two spellings are one.
    var scalarWords: [[Unicode.Scalar]] {
        unicodeScalars.split(whereSeparator: \.isPythonSpace).map(Array.init)
    }
}
