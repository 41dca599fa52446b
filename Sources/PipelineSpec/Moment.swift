package import Foundation

/// Moments as people write them.
package enum Moment {
    /// Seconds since 1970 of `2027-01-31T02:30[:15][Z|+01:00]`, with a space in place of the T or a date alone;
    /// without an offset it is `timeZone`'s time. `nil` when `text` is no such moment.
    static func parse(_ text: String, timeZone: TimeZone) -> Double? {
        let pattern = #/(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?\s?(Z|[+-]\d\d:?\d\d)?)?/#
        guard let match = text.wholeMatch(of: pattern)?.output, let year = Int(match.1), let month = Int(match.2),
            let day = Int(match.3)
        else { return nil }
        func number(_ digits: Substring?) -> Int { digits.flatMap { Int($0) } ?? 0 }
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        if let offset = match.7 {
            guard let zone = zone(offset) else { return nil }
            calendar.timeZone = zone
        }
        let parts = DateComponents(
            year: year, month: month, day: day, hour: number(match.4), minute: number(match.5), second: number(match.6))
        guard (1...12).contains(month), number(match.4) < 24, number(match.5) < 60, number(match.6) < 60,
            let date = calendar.date(from: parts), calendar.component(.day, from: date) == day
        else { return nil }
        return date.timeIntervalSince1970
    }

    /// `seconds` since 1970 in Coordinated Universal Time: `2027-01-31T01:30:00Z`.
    static func text(_ seconds: Double) -> String {
        Date(timeIntervalSince1970: seconds).formatted(.iso8601)
    }

    /// `2026-11-21 03:30:00` in local time, for people.
    package static func local(_ date: Date) -> String {
        var seconds = time_t(date.timeIntervalSince1970.rounded(.down))
        var parts = tm()
        localtime_r(&seconds, &parts)
        return String(
            format: "%04d-%02d-%02d %02d:%02d:%02d", Int(parts.tm_year) + 1900, Int(parts.tm_mon) + 1,
            Int(parts.tm_mday),
            Int(parts.tm_hour), Int(parts.tm_min), Int(parts.tm_sec))
    }

    /// As ``local(_:)``, without the day when it is the day of `now`: `03:30:00`.
    package static func near(_ date: Date, now: Date = Date()) -> String {
        let text = local(date)
        return text.prefix(10) == local(now).prefix(10) ? String(text.dropFirst(11)) : text
    }

    private static func zone(_ offset: Substring) -> TimeZone? {
        if offset == "Z" { return .gmt }
        let digits = offset.dropFirst().filter(\.isNumber)
        guard let hours = Int(digits.prefix(2)), let minutes = Int(digits.suffix(2)), minutes < 60 else { return nil }
        return TimeZone(secondsFromGMT: (hours * 3600 + minutes * 60) * (offset.hasPrefix("-") ? -1 : 1))
    }
}
