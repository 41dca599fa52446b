package import Foundation

/// One time at which a schedule is due.
package struct Occurrence: Sendable, Hashable, CustomStringConvertible {
    /// What the clock on the wall shows then, with its zone: `2026-11-21T02:30[Europe/Berlin]`. Two occurrences with
    /// the same name are the same one, however the clock was set in between.
    package let description: String
    package let date: Date

    /// The day on the wall: `2026-11-21`.
    package var localDay: String { String(description.prefix(10)) }

    /// Day and time on the wall: `2026-11-21 02:30`.
    package var localTime: String { localDay + " " + description.dropFirst(11).prefix(5) }

    /// What the clock in `zone` shows at a moment, which need not be of any schedule.
    package init(at date: Date, in zone: TimeZone) {
        let moment = Int(date.timeIntervalSince1970.rounded(.down))
        self.init(minute: WallClock(zone: zone).minute(at: moment), moment: moment, zone)
    }

    init(minute: Int, moment: Int, _ zone: TimeZone) {
        let number = floorDivided(minute, by: 1440)
        let day = CivilDay(number: number)
        func digits(_ value: Int, _ count: Int = 2) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let time = minute - number * 1440
        description =
            "\(digits(day.year, 4))-\(digits(day.month))-\(digits(day.day))T\(digits(time / 60)):\(digits(time % 60))"
            + "[\(Self.name(of: zone))]"
        date = Date(timeIntervalSince1970: Double(moment))
    }

    /// As the tables of zones spell it; Foundation's own name for UTC is GMT.
    package static func name(of zone: TimeZone) -> String { zone.identifier == "GMT" ? "UTC" : zone.identifier }
}

extension CronExpression {
    /// The first occurrence after a moment; `nil` when there is none in the next forty years.
    ///
    /// Wall times rule, not moments. A time that the clock shows twice counts once, the first time. Times that the
    /// clock skips count as one, at the first whole minute after the gap; those of an expression that names every hour
    /// are passed over, since its next time comes within the hour.
    package func next(after date: Date, in zone: TimeZone) -> Occurrence? {
        let clock = WallClock(zone: zone)
        var minute = clock.minute(at: Int(date.timeIntervalSince1970.rounded(.down)))
        while let match = firstMinute(from: minute) {
            switch clock.showing(match) {
            case .at(let moment):
                if Double(moment) > date.timeIntervalSince1970 {
                    return Occurrence(minute: match, moment: moment, zone)
                }
            case .skipped(let next, let moment):
                if !isEveryHour, Double(moment) > date.timeIntervalSince1970 {
                    return Occurrence(minute: next, moment: moment, zone)
                }
            }
            minute = match + 1
        }
        return nil
    }

    /// The newest occurrences after one moment, up to and with another, from the oldest to the newest.
    ///
    /// - Parameter limit: How many at most; a clock that jumps over years costs no more than these.
    package func occurrences(
        after start: Date, through end: Date, in zone: TimeZone, limit: Int = 100_000
    ) -> [Occurrence] {
        guard start < end, limit > 0 else { return [] }
        var span = 86_400.0
        while true {
            let from = max(start, end.addingTimeInterval(-span))
            var found: [Occurrence] = []
            var last = from
            while let next = next(after: last, in: zone), next.date <= end {
                found.append(next)
                last = next.date
            }
            if from == start || found.count >= limit { return found.suffix(limit) }
            span *= 4
        }
    }

    /// The first minute on the wall, from `minute` on, that the fields allow.
    private func firstMinute(from minute: Int) -> Int? {
        let number = floorDivided(minute, by: 1440)
        let start = CivilDay(number: number)
        if allows(start), let time = firstTime(from: minute - number * 1440) { return number * 1440 + time }
        guard let time = firstTime(from: 0) else { return nil }
        var day = CivilDay(year: start.year, month: start.month, day: start.day + 1)
        // February 29 on a given weekday can be forty years away.
        while day.year <= start.year + 41 {
            if months.contains(day.month) {
                while day.day <= CivilDay.length(of: day.month, in: day.year) {
                    if allows(day) { return day.number * 1440 + time }
                    day.day += 1
                }
            }
            day =
                day.month == 12
                ? CivilDay(year: day.year + 1, month: 1, day: 1)
                : CivilDay(year: day.year, month: day.month + 1, day: 1)
        }
        return nil
    }

    private func allows(_ day: CivilDay) -> Bool {
        guard months.contains(day.month) else { return false }
        // 1970-01-01 was a Thursday.
        let number = day.number + 4
        let isWeekday = daysOfWeek.contains(number - floorDivided(number, by: 7) * 7)
        let isDay = daysOfMonth.contains(day.day)
        return isEitherDay ? isDay || isWeekday : isDay && isWeekday
    }

    /// The first minute of a day, from `minute` on.
    private func firstTime(from minute: Int) -> Int? {
        if hours.contains(minute / 60), let first = minutes.first(from: minute % 60) { return minute / 60 * 60 + first }
        guard let hour = hours.first(from: minute / 60 + 1), let first = minutes.first(from: 0) else { return nil }
        return hour * 60 + first
    }
}
