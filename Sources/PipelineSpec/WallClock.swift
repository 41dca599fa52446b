import Foundation

/// The clock on a wall of a time zone: from moments to what it shows, and back.
///
/// Moments are seconds since 1970. What it shows is counted in minutes since 1970-01-01T00:00, as if every day had 24
/// hours.
struct WallClock {
    /// When the clock shows a minute.
    enum Showing: Equatable {
        /// For the first time at this moment.
        case at(Int)
        /// Never: it was set forward over it. The first whole minute after that, and its moment.
        case skipped(next: Int, at: Int)
    }

    let zone: TimeZone

    /// What the clock shows at a moment.
    func minute(at moment: Int) -> Int { floorDivided(moment + offset(moment), by: 60) }

    /// When the clock shows `minute`, whatever the zone did on that day.
    func showing(_ minute: Int) -> Showing {
        let shown = minute * 60
        // No zone is further from Greenwich than a day, and a day on either side sees every change that matters.
        let window = 26 * 3600
        let before = offset(shown - window)
        let after = offset(shown + window)
        if before == after, offset(shown - before) == before { return .at(shown - before) }

        var start = Int.min
        var current = before
        for sample in stride(from: shown - window + 3600, through: shown + window, by: 3600) {
            let next = offset(sample)
            if next == current { continue }
            let change = change(after: sample - 3600, by: sample)
            let moment = shown - current
            if moment >= start, moment < change { return .at(moment) }
            if moment >= change, shown - next < change {
                let valid = -floorDivided(-(change + next), by: 60)
                return .skipped(next: valid, at: valid * 60 - next)
            }
            start = change
            current = next
        }
        return .at(shown - current)
    }

    private func offset(_ moment: Int) -> Int {
        zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(moment)))
    }

    /// The first moment of a new offset, which lies within an hour.
    private func change(after low: Int, by high: Int) -> Int {
        let old = offset(low)
        var low = low
        var high = high
        while high - low > 1 {
            let middle = (low + high) / 2
            if offset(middle) == old { low = middle } else { high = middle }
        }
        return high
    }
}

/// A day of the Gregorian calendar.
struct CivilDay: Equatable {
    var year: Int
    /// From 1.
    var month: Int
    /// From 1.
    var day: Int

    init(year: Int, month: Int, day: Int) {
        self.year = year
        self.month = month
        self.day = day
    }

    /// The day so many days after 1970-01-01.
    init(number: Int) {
        var year = 1970 + floorDivided(number * 400, by: 146_097)
        while Self.number(ofYear: year) > number { year -= 1 }
        while Self.number(ofYear: year + 1) <= number { year += 1 }
        var rest = number - Self.number(ofYear: year)
        var month = 1
        while rest >= Self.length(of: month, in: year) {
            rest -= Self.length(of: month, in: year)
            month += 1
        }
        self.init(year: year, month: month, day: rest + 1)
    }

    /// Days since 1970-01-01.
    var number: Int {
        Self.number(ofYear: year) + (1..<month).reduce(0) { $0 + Self.length(of: $1, in: year) } + day - 1
    }

    /// Days of a month.
    static func length(of month: Int, in year: Int) -> Int {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// 719 162 days lie between the first day of year 1 and 1970-01-01.
    private static func number(ofYear year: Int) -> Int {
        let past = year - 1
        return past * 365 + floorDivided(past, by: 4) - floorDivided(past, by: 100) + floorDivided(past, by: 400)
            - 719_162
    }
}

/// The quotient, rounded down also below zero.
func floorDivided(_ number: Int, by divisor: Int) -> Int {
    number >= 0 ? number / divisor : -((-number + divisor - 1) / divisor)
}
