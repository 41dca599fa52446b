package import Foundation

extension JobManifest {
    /// How long a job may take: what is trained when the time is up is what it makes.
    package struct Budget: Codable, Sendable, Equatable {
        /// Seconds that its stages may work, all tries together; `nil` without such a limit.
        package var wallSeconds: Double?
        /// The minute of the day, on the clock of ``timeZone``, at which it is to have ended; `nil` without one.
        package var endMinute: Int?
        /// A name such as `Europe/Berlin`, or `local` for the machine's.
        package var timeZone = "local"
        package init() {}

        /// When a job that starts at a moment is to have ended: the first time after it at which the clock on the wall
        /// shows ``endMinute``. Where the clock skips that minute it is the first whole one behind the gap; of a minute
        /// that it shows twice it is the first.
        ///
        /// - Returns: `nil` without an end on the clock.
        package func deadline(startingAt start: Date, local: TimeZone = .current) -> Date? {
            guard let endMinute else { return nil }
            let zone = TimeZoneName.zone(timeZone) ?? local
            return WallClock(zone: zone).next(minuteOfDay: endMinute, after: start)
        }
    }
}

extension WallClock {
    /// The first moment after another at which the clock shows a minute of the day.
    func next(minuteOfDay: Int, after start: Date) -> Date {
        let moment = Int(start.timeIntervalSince1970.rounded(.down))
        var day = floorDivided(minute(at: moment), by: 1440)
        while true {
            let found =
                switch showing(day * 1440 + minuteOfDay) {
                case .at(let moment), .skipped(_, let moment): moment
                }
            if Double(found) > start.timeIntervalSince1970 { return Date(timeIntervalSince1970: Double(found)) }
            day += 1
        }
    }
}

/// Times of day as people write them: `06:00`.
enum TimeOfDay {
    /// Minutes after midnight; `nil` for what is no time. `24:00` is the end of a day.
    static func minute(_ text: some StringProtocol, allowsEndOfDay: Bool = false) -> Int? {
        guard let match = String(text).wholeMatch(of: #/(\d{1,2}):(\d{2})/#), let hour = Int(match.1),
            let minute = Int(match.2), minute < 60
        else { return nil }
        if hour == 24, minute == 0, allowsEndOfDay { return 1440 }
        return hour < 24 ? hour * 60 + minute : nil
    }

    /// A minute of the day as ``minute(_:allowsEndOfDay:)`` reads it.
    static func text(_ minute: Int) -> String {
        func digits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(digits(minute / 60)):\(digits(minute % 60))"
    }
}
