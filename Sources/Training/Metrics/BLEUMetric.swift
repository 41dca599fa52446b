import Foundation

/// Corpus BLEU up to four words, 0…100, as sacreBLEU computes it: one reference, mixed case, the tokenisation `13a`,
/// exponential smoothing.
enum BLEUMetric: Metric {
    static let name = "bleu"
    static let evidence = MetricEvidence.text
    static let isHigherBetter = true

    private static let order = 4

    /// Lengths of text and reference, then matches and counts of each order.
    static func statistics(of example: ScoredExample, classes: Int) -> [Statistic] {
        guard let text = example.score.text, let reference = example.reference else { return [] }
        let (words, wanted) = (words(of: text), words(of: reference))
        var statistics = [Statistic(0, Double(words.count)), Statistic(1, Double(wanted.count))]
        for n in 1...order {
            let grams = GramCounts(words, n: n)
            statistics.append(Statistic(2 * n, Double(grams.matches(GramCounts(wanted, n: n)))))
            statistics.append(Statistic(2 * n + 1, Double(grams.total)))
        }
        return statistics
    }

    static func value(of sums: StatisticSums, classes: Int) -> Double? {
        guard sums[1] > 0 else { return nil }
        guard (1...order).contains(where: { sums[2 * $0] > 0 }) else { return 0 }
        var smoothing = 1.0
        var logarithms = 0.0
        for n in 1...order {
            let (matches, total) = (sums[2 * n], sums[2 * n + 1])
            // Texts that are all shorter than an order have no BLEU.
            guard total > 0 else { return 0 }
            if matches == 0 { smoothing *= 2 }
            logarithms += log(100 * (matches > 0 ? matches : 1 / smoothing) / total)
        }
        let brevity = sums[0] < sums[1] ? exp(1 - sums[1] / sums[0]) : 1
        return brevity * exp(logarithms / Double(order))
    }

    /// The tokenisation of NIST's `mteval-v13a`, as sacreBLEU words it.
    static func words(of text: String) -> [[Unicode.Scalar]] {
        var line = text
        while let last = line.unicodeScalars.last, last.isPythonSpace { line.unicodeScalars.removeLast() }
        line = line.replacing("<skipped>", with: "").replacing("-\n", with: "").replacing("\n", with: " ")
        for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
            line = line.replacing(entity, with: character)
        }
        var scalars: [Unicode.Scalar] = []
        for scalar in (" " + line + " ").unicodeScalars {
            if isPunctuation(scalar) { scalars += [" ", scalar, " "] } else { scalars.append(scalar) }
        }
        // Points and commas belong to numbers only between digits.
        scalars = pairs(scalars, where: { !isDigit($0) && isPoint($1) }) { [$0, " ", $1, " "] }
        scalars = pairs(scalars, where: { isPoint($0) && !isDigit($1) }) { [" ", $0, " ", $1] }
        scalars = pairs(scalars, where: { isDigit($0) && $1 == "-" }) { [$0, " ", $1, " "] }
        return scalars.split(whereSeparator: \.isPythonSpace).map(Array.init)
    }

    /// Replaces pairs of neighbours, from left to right, none of them twice.
    private static func pairs(
        _ scalars: [Unicode.Scalar], where isPair: (Unicode.Scalar, Unicode.Scalar) -> Bool,
        _ replace: (Unicode.Scalar, Unicode.Scalar) -> [Unicode.Scalar]
    ) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        var index = 0
        while index < scalars.count {
            if index + 1 < scalars.count, isPair(scalars[index], scalars[index + 1]) {
                result += replace(scalars[index], scalars[index + 1])
                index += 2
            } else {
                result.append(scalars[index])
                index += 1
            }
        }
        return result
    }

    private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
    private static func isPoint(_ scalar: Unicode.Scalar) -> Bool { scalar == "." || scalar == "," }

    /// ASCII's marks and the space, but neither apostrophe nor hyphen nor what may stand in a number.
    private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "/" || ("{"..."~").contains(scalar) || ("["..."`").contains(scalar) || (" "..."&").contains(scalar)
            || ("("..."+").contains(scalar) || (":"..."@").contains(scalar)
    }
}
