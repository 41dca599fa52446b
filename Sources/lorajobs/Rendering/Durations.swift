import Foundation
import PipelineSpec

/// Times and amounts as tables show them: short, and never more exact than anyone can use.
enum Durations {
    /// `0s`, `12s`, `3m12s`, `2h05m`, `4d03h`.
    static func text(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0, seconds < 1e10 else { return "?" }
        let total = Int(seconds.rounded())
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        switch total {
        case ..<60: return "\(total)s"
        case ..<3600: return "\(total / 60)m\(two(total % 60))s"
        case ..<86_400: return "\(total / 3600)h\(two(total % 3600 / 60))m"
        default: return "\(total / 86_400)d\(two(total % 86_400 / 3600))h"
        }
    }

    /// Seconds in what a person types after `--timeout`: `90s`, `2h`, `1h30m`, or a plain number of seconds.
    static func seconds(_ text: String) -> Double? {
        if let first = text.utf8.first, (48...57).contains(first), let value = Double(text), value.isFinite {
            return value
        }
        return Quantity.seconds(text)
    }
}

/// Amounts of bytes and numbers as tables show them.
enum Amounts {
    /// `512 B`, `12.0 MiB`.
    static func bytes(_ count: Int64) -> String {
        var value = Double(count)
        var units = ["B", "KiB", "MiB", "GiB", "TiB"][...]
        while value >= 1024, units.count > 1 {
            value /= 1024
            units.removeFirst()
        }
        return units.first == "B" ? "\(count) B" : String(format: "%.1f \(units.first ?? "")", value)
    }

    /// At most four digits that matter: `1.832`, `0.0002`, `1234`.
    static func number(_ value: Double) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        return String(format: abs(value) >= 1000 ? "%.0f" : "%.4g", value)
    }

    /// `42%`; one that has not ended never shows 100.
    static func percent(_ fraction: Double, isDone: Bool = false) -> String {
        guard fraction.isFinite else { return "?" }
        let value = Int((min(1, max(0, fraction)) * 100).rounded(.down))
        return "\(isDone ? value : min(99, value))%"
    }
}

/// Moments as people and programs read them.
enum Moments {
    /// `2026-11-21T02:30:00Z`, for programs.
    static func json(_ date: Date) -> String { date.formatted(.iso8601) }

    /// `2026-11-21 03:30:00` in local time, for people.
    static func local(_ date: Date) -> String { Moment.local(date) }
}
