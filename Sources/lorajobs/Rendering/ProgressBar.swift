import Foundation
import PipelineSpec

/// One line that says how far a stage is: bar, share, loss, speed and the time it still takes.
enum ProgressBar {
    /// The line in at most `width` columns: what does not fit is left out, the least needed first.
    static func line(stage: String, fraction: Double, event: ProgressEvent?, eta: Double?, width: Int) -> String {
        let done = min(1, max(0, fraction.isFinite ? fraction : 0))
        let percent = DisplayWidth.pad(Amounts.percent(done, isDone: done >= 1), to: 4, right: true)
        var facts: [String] = []
        // Of constant width, so that the bar beside them stays where it is.
        func fact(_ text: String, _ columns: Int) -> String { DisplayWidth.pad(text, to: columns) }
        if let eta { facts.append(fact("ETA \(Durations.text(eta))", 10)) }
        if let loss = event?.loss { facts.append(fact("loss \(Amounts.number(loss))", 11)) }
        if let speed = event?.tokensPerSecond { facts.append(fact("\(Amounts.number(speed)) tok/s", 11)) }
        if let step = event?.step {
            let total = event?.steps.map { "/\($0)" } ?? ""
            facts.append(fact("step \(step)\(total)", 4 + 2 * total.count))
        }
        if let message = event?.message { facts.append(PrintableText.line(message, limit: 60)) }

        let name = PrintableText.line(stage, limit: 24)
        let fixed = DisplayWidth.of(name) + 2 + 2 + percent.count
        while !facts.isEmpty, fixed + 10 + length(facts) > width { facts.removeLast() }
        let bar = min(30, width - fixed - length(facts))
        let parts = (bar >= 5 ? [name, drawing(done, bar), percent] : [name, percent]) + facts
        var line = DisplayWidth.fit(parts.joined(separator: "  "), in: width)
        while line.last == " " { line.removeLast() }
        return line
    }

    /// The same for a log: no bar.
    static func words(stage: String, fraction: Double, event: ProgressEvent?, eta: Double?) -> String {
        var parts = ["\(PrintableText.line(stage, limit: 24)) \(Amounts.percent(fraction, isDone: fraction >= 1))"]
        if let loss = event?.loss { parts.append("loss \(Amounts.number(loss))") }
        if let speed = event?.tokensPerSecond { parts.append("\(Amounts.number(speed)) tok/s") }
        if let eta { parts.append("ETA \(Durations.text(eta))") }
        if let message = event?.message { parts.append(PrintableText.line(message, limit: 100)) }
        return parts.joined(separator: ", ")
    }

    private static func length(_ facts: [String]) -> Int { facts.reduce(0) { $0 + 2 + DisplayWidth.of($1) } }

    /// Eighths of a column, so that a slow stage is seen to move.
    private static func drawing(_ fraction: Double, _ width: Int) -> String {
        let eighths = Int(fraction * Double(width) * 8 + 1e-6)
        let partial = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
        let filled = String(repeating: "█", count: eighths / 8) + partial
        return DisplayWidth.pad(filled, to: width).replacing(" ", with: "░")
    }
}
