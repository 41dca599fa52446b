package import Foundation

/// Times of the day or of the week in which no job runs.
///
/// They are those that the clock on the wall of a zone shows: whether it is quiet at a moment depends on nothing else, so
/// neither a restart, nor a clock that is set, nor an hour that comes twice leaves it wrong.
package struct QuietHours: Codable, Sendable, Equatable {
    /// One span of hours, on some days of the week.
    struct Span: Codable, Sendable, Equatable {
        /// As it is written: `mon-fri 08:00-18:00`.
        var text: String
        /// On which days it begins; bit 0 is Sunday.
        var days: UInt8
        /// Minutes of the day; the end is not in it, and one that is not later than the start is the next day's.
        var start: Int
        var end: Int

        /// - Returns: `nil` for what is no span.
        init?(_ text: String) {
            let words = text.split(separator: " ").map(String.init)
            guard let hours = words.last, words.count <= 2 else { return nil }
            let parts = hours.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 2, let start = TimeOfDay.minute(parts[0]),
                let end = TimeOfDay.minute(parts[1], allowsEndOfDay: true), start != end
            else { return nil }
            var days: UInt8 = 0x7F
            if words.count == 2 {
                // Days are named as in a schedule.
                guard let cron = try? CronExpression("0 0 * * \(words[0])") else { return nil }
                days = (0..<7).reduce(0) { cron.daysOfWeek.contains($1) ? $0 | 1 << $1 : $0 }
            }
            self.text = words.joined(separator: " ")
            (self.days, self.start, self.end) = (days, start, end)
        }

        /// Whether a minute of a day of the week is in it.
        func contains(minute: Int, weekday: Int) -> Bool {
            func begins(_ day: Int) -> Bool { days >> UInt8(day) & 1 == 1 }
            if start < end { return begins(weekday) && (start..<end).contains(minute) }
            return begins(weekday) && minute >= start || begins((weekday + 6) % 7) && minute < end
        }
    }

    private(set) var spans: [Span] = []
    /// A name such as `Europe/Berlin`, or `local` for the machine's.
    private(set) var timeZone = "local"

    /// - Throws: the text that is no span.
    init(_ texts: [String], timeZone: String = "local") throws(NotASpan) {
        for text in texts {
            guard let span = Span(text) else { throw NotASpan(text: text) }
            spans.append(span)
        }
        self.timeZone = timeZone
    }

    /// A text that says no span of hours.
    struct NotASpan: Error {
        var text: String
    }

    /// As they are written.
    package var texts: [String] { spans.map(\.text) }

    /// Whether they leave no minute of the week in which a job may run.
    var isEndless: Bool {
        (0..<7 * 1440).allSatisfy { minute in isQuiet(minute: minute % 1440, weekday: minute / 1440) }
    }

    /// Whether it is quiet at a moment.
    package func isQuiet(at date: Date, local: TimeZone = .current) -> Bool {
        if spans.isEmpty { return false }
        let clock = WallClock(zone: TimeZoneName.zone(timeZone) ?? local)
        return isQuiet(Int(date.timeIntervalSince1970.rounded(.down)), clock)
    }

    /// When quiet hours that hold at a moment end: the first whole minute at which it is not quiet any more.
    ///
    /// - Returns: `nil` when it is not quiet then.
    package func end(after date: Date, local: TimeZone = .current) -> Date? {
        if spans.isEmpty { return nil }
        let clock = WallClock(zone: TimeZoneName.zone(timeZone) ?? local)
        var moment = Int(date.timeIntervalSince1970.rounded(.down))
        guard isQuiet(moment, clock) else { return nil }
        // Minute by minute: the clock may be set in between. Nothing that ends lasts longer than a week.
        moment = floorDivided(moment, by: 60) * 60
        for _ in 0..<8 * 1440 {
            moment += 60
            if !isQuiet(moment, clock) { break }
        }
        return Date(timeIntervalSince1970: Double(moment))
    }

    private func isQuiet(_ moment: Int, _ clock: WallClock) -> Bool {
        let minute = clock.minute(at: moment)
        let day = floorDivided(minute, by: 1440)
        // 1970-01-01 was a Thursday.
        let weekday = day + 4 - floorDivided(day + 4, by: 7) * 7
        return isQuiet(minute: minute - day * 1440, weekday: weekday)
    }

    private func isQuiet(minute: Int, weekday: Int) -> Bool {
        spans.contains { $0.contains(minute: minute, weekday: weekday) }
    }
}
