import Foundation

extension Moments {
    /// The moment that `7d`, `today`, `yesterday`, `2027-01-31` or `2027-01-31T02:30` means; `nil` for anything else.
    ///
    /// Days begin at midnight in `timeZone`.
    static func since(_ text: String, now: Date, timeZone: TimeZone = .current) -> Date? {
        if let seconds = Durations.seconds(text) { return now.addingTimeInterval(-seconds) }
        if let date = try? Date(text, strategy: .iso8601) { return date }
        var local = Calendar(identifier: .gregorian)
        local.timeZone = timeZone
        if text == "today" { return local.startOfDay(for: now) }
        if text == "yesterday" { return local.date(byAdding: .day, value: -1, to: local.startOfDay(for: now)) }
        guard let match = text.wholeMatch(of: #/(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d))?/#) else { return nil }
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        var parts = DateComponents(year: Int(match.1), month: Int(match.2), day: Int(match.3))
        parts.hour = match.4.flatMap { Int($0) } ?? 0
        parts.minute = match.5.flatMap { Int($0) } ?? 0
        guard parts.isValidDate(in: calendar) else { return nil }
        return calendar.date(from: parts)
    }
}
