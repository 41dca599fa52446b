/// Words as the rouge-score package cuts them: runs of ASCII letters and digits, in lower case, not stemmed.
struct ROUGEWords {
    let words: [[UInt8]]

    init(_ text: String) {
        words = text.lowercased().utf8.split { byte in
            !(UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                && !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }.map(Array.init)
    }

    /// The F1 of what two texts have in common.
    static func f1(matches: Int, of count: Int, and wanted: Int) -> Double {
        let precision = Double(matches) / Double(max(count, 1)), recall = Double(matches) / Double(max(wanted, 1))
        return precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0
    }

    /// The mean of an F1 over the examples that have a text and a reference.
    static func statistics(of example: ScoredExample, _ score: (ROUGEWords, ROUGEWords) -> Double) -> [Statistic] {
        guard let text = example.score.text, let reference = example.reference else { return [] }
        return [Statistic(0, score(ROUGEWords(text), ROUGEWords(reference))), Statistic(1, 1)]
    }

    /// The F1 of runs of `n` words.
    static func grams(_ n: Int, _ text: ROUGEWords, _ reference: ROUGEWords) -> Double {
        let (own, wanted) = (GramCounts(text.words, n: n), GramCounts(reference.words, n: n))
        return f1(matches: own.matches(wanted), of: own.total, and: wanted.total)
    }
}
