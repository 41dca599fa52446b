import Foundation
import Testing

@testable import PipelineSpec

@Suite struct OccurrenceTests {
    /// Expression, zone, start, and what follows: wall time and moment. Made by `Tests/Reference/cron_reference.py`,
    /// with Python's own tables of zones.
    static let expected: [(cron: String, zone: String, start: String, rows: [String])] = [
        (
            "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00Z",
            [
                "2026-03-28T02:30 2026-03-28T01:30Z",
                "2026-03-29T03:00 2026-03-29T01:00Z",
                "2026-03-30T02:30 2026-03-30T00:30Z",
                "2026-03-31T02:30 2026-03-31T00:30Z",
            ]
        ),
        (
            "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z",
            [
                "2026-10-25T02:30 2026-10-25T00:30Z",
                "2026-10-26T02:30 2026-10-26T01:30Z",
                "2026-10-27T02:30 2026-10-27T01:30Z",
            ]
        ),
        (
            "*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
            [
                "2026-03-29T03:00 2026-03-29T01:00Z",
                "2026-03-30T02:00 2026-03-30T00:00Z",
                "2026-03-30T02:20 2026-03-30T00:20Z",
            ]
        ),
        (
            "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
            [
                "2026-03-29T03:00 2026-03-29T01:00Z",
                "2026-03-30T02:00 2026-03-30T00:00Z",
                "2026-03-30T03:00 2026-03-30T01:00Z",
            ]
        ),
        (
            "30 * * * *", "Europe/Berlin", "2026-03-28T23:45Z",
            [
                "2026-03-29T01:30 2026-03-29T00:30Z",
                "2026-03-29T03:30 2026-03-29T01:30Z",
                "2026-03-29T04:30 2026-03-29T02:30Z",
                "2026-03-29T05:30 2026-03-29T03:30Z",
            ]
        ),
        (
            "30 * * * *", "Europe/Berlin", "2026-10-24T23:45Z",
            [
                "2026-10-25T02:30 2026-10-25T00:30Z",
                "2026-10-25T03:30 2026-10-25T02:30Z",
                "2026-10-25T04:30 2026-10-25T03:30Z",
                "2026-10-25T05:30 2026-10-25T04:30Z",
            ]
        ),
        (
            "0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30Z",
            [
                "2026-03-29T00:00 2026-03-28T23:00Z",
                "2026-03-29T03:00 2026-03-29T01:00Z",
                "2026-03-29T04:00 2026-03-29T02:00Z",
                "2026-03-29T06:00 2026-03-29T04:00Z",
            ]
        ),
        (
            "0 0 * * *", "America/Sao_Paulo", "2018-11-02T12:00Z",
            [
                "2018-11-03T00:00 2018-11-03T03:00Z",
                "2018-11-04T01:00 2018-11-04T03:00Z",
                "2018-11-05T00:00 2018-11-05T02:00Z",
                "2018-11-06T00:00 2018-11-06T02:00Z",
            ]
        ),
        (
            "30 23 * * *", "America/Sao_Paulo", "2019-02-15T12:00Z",
            [
                "2019-02-15T23:30 2019-02-16T01:30Z",
                "2019-02-16T23:30 2019-02-17T01:30Z",
                "2019-02-17T23:30 2019-02-18T02:30Z",
            ]
        ),
        (
            "0 0 * * *", "Africa/Cairo", "2024-04-24T12:00Z",
            [
                "2024-04-25T00:00 2024-04-24T22:00Z",
                "2024-04-26T01:00 2024-04-25T22:00Z",
                "2024-04-27T00:00 2024-04-26T21:00Z",
            ]
        ),
        (
            "30 23 * * *", "Africa/Cairo", "2024-10-30T12:00Z",
            [
                "2024-10-30T23:30 2024-10-30T20:30Z",
                "2024-10-31T23:30 2024-10-31T20:30Z",
                "2024-11-01T23:30 2024-11-01T21:30Z",
            ]
        ),
        (
            "15 0 * * *", "Asia/Beirut", "2024-03-29T12:00Z",
            [
                "2024-03-30T00:15 2024-03-29T22:15Z",
                "2024-03-31T01:00 2024-03-30T22:00Z",
                "2024-04-01T00:15 2024-03-31T21:15Z",
            ]
        ),
        (
            "45 23 * * *", "Asia/Beirut", "2024-10-25T12:00Z",
            [
                "2024-10-25T23:45 2024-10-25T20:45Z",
                "2024-10-26T23:45 2024-10-26T20:45Z",
                "2024-10-27T23:45 2024-10-27T21:45Z",
            ]
        ),
        (
            "10 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00Z",
            [
                "2026-10-03T02:10 2026-10-02T15:40Z",
                "2026-10-04T02:30 2026-10-03T15:30Z",
                "2026-10-05T02:10 2026-10-04T15:10Z",
            ]
        ),
        (
            "40 1 * * *", "Australia/Lord_Howe", "2026-04-03T12:00Z",
            [
                "2026-04-04T01:40 2026-04-03T14:40Z",
                "2026-04-05T01:40 2026-04-04T14:40Z",
                "2026-04-06T01:40 2026-04-05T15:10Z",
            ]
        ),
        (
            "*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:10Z",
            [
                "2026-04-05T01:15 2026-04-04T14:15Z",
                "2026-04-05T01:30 2026-04-04T14:30Z",
                "2026-04-05T01:45 2026-04-04T14:45Z",
                "2026-04-05T02:00 2026-04-04T15:30Z",
                "2026-04-05T02:15 2026-04-04T15:45Z",
                "2026-04-05T02:30 2026-04-04T16:00Z",
            ]
        ),
        (
            "0 9 * * 1-5", "Asia/Kolkata", "2026-11-20T12:00Z",
            [
                "2026-11-23T09:00 2026-11-23T03:30Z",
                "2026-11-24T09:00 2026-11-24T03:30Z",
            ]
        ),
        (
            "0 12 30 12 *", "Pacific/Apia", "2010-12-31T12:00Z",
            [
                "2011-12-31T00:00 2011-12-30T10:00Z",
                "2012-12-30T12:00 2012-12-29T22:00Z",
            ]
        ),
        (
            "59 23 31 12 *", "Asia/Kathmandu", "2026-12-31T12:00Z",
            [
                "2026-12-31T23:59 2026-12-31T18:14Z",
                "2027-12-31T23:59 2027-12-31T18:14Z",
            ]
        ),
        (
            "0 0 29 2 *", "UTC", "2096-01-01T00:00Z",
            [
                "2096-02-29T00:00 2096-02-29T00:00Z",
                "2104-02-29T00:00 2104-02-29T00:00Z",
            ]
        ),
        (
            "0 0 13 * 5", "UTC", "2026-11-01T00:00Z",
            [
                "2026-11-06T00:00 2026-11-06T00:00Z",
                "2026-11-13T00:00 2026-11-13T00:00Z",
                "2026-11-20T00:00 2026-11-20T00:00Z",
                "2026-11-27T00:00 2026-11-27T00:00Z",
            ]
        ),
        (
            "0 0 */9 * 1", "UTC", "2026-01-01T00:00Z",
            [
                "2026-01-19T00:00 2026-01-19T00:00Z",
                "2026-06-01T00:00 2026-06-01T00:00Z",
                "2026-08-10T00:00 2026-08-10T00:00Z",
            ]
        ),
    ]

    @Test(arguments: expected.indices) func agreesWithPython(index: Int) throws {
        let expected = Self.expected[index]
        let cron = try CronExpression(expected.cron)
        let zone = try #require(TimeZone(identifier: expected.zone))
        var date = try moment(expected.start)
        for row in expected.rows {
            let next = try #require(cron.next(after: date, in: zone))
            let words = row.split(separator: " ")
            #expect(next.description == "\(words[0])[\(expected.zone == "UTC" ? "UTC" : expected.zone)]")
            #expect(next.date == (try moment(String(words[1]))), "\(expected.cron) \(expected.zone): \(next)")
            date = next.date
        }
    }

    private func moment(_ text: String) throws -> Date {
        Date(timeIntervalSince1970: try #require(Moment.parse(text, timeZone: .gmt)))
    }

    /// Zones with gaps at night and at midnight, of an hour, of half an hour and of a day, and a span with each change.
    static let changes: [(zone: String, from: String, days: Double)] = [
        ("Europe/Berlin", "2026-03-27T00:00Z", 4), ("Europe/Berlin", "2026-10-23T00:00Z", 4),
        ("America/New_York", "2026-03-07T00:00Z", 3), ("America/New_York", "2026-10-31T00:00Z", 3),
        ("Australia/Lord_Howe", "2026-10-02T00:00Z", 3), ("Australia/Lord_Howe", "2026-04-03T00:00Z", 3),
        ("America/Sao_Paulo", "2018-11-03T00:00Z", 3), ("America/Sao_Paulo", "2019-02-15T12:00Z", 3),
        ("Asia/Beirut", "2024-03-29T12:00Z", 3), ("Asia/Beirut", "2024-10-25T12:00Z", 3),
        ("Pacific/Apia", "2011-12-28T12:00Z", 4), ("Asia/Kathmandu", "2026-12-30T12:00Z", 3),
    ]

    /// Compares with a walk over every real minute that reads the clock with Foundation's calendar.
    @Test(arguments: changes.indices) func agreesWithEveryMinute(index: Int) throws {
        let (name, from, days) = Self.changes[index]
        let zone = try #require(TimeZone(identifier: name))
        let start = try moment(from)
        let end = start.addingTimeInterval(days * 86_400)
        let minutes = Minutes(zone: zone, from: start.addingTimeInterval(-2 * 86_400), through: end)
        var generator = SplitMix(state: UInt64(index) + 1)
        var compared = 0
        for _ in 0..<40 {
            let text = RandomCron.expression(&generator)
            let cron: CronExpression
            do { cron = try CronExpression(text) } catch { continue }
            let expected = minutes.occurrences(of: text, after: start)
            let found = cron.occurrences(after: start, through: end, in: zone)
            #expect(found.map(\.date) == expected, "\(text) in \(name)")
            #expect(Set(found.map(\.description)).count == found.count, "\(text) in \(name)")
            let some = cron.occurrences(after: start, through: end, in: zone, limit: 3)
            #expect(some == Array(found.suffix(3)), "\(text) in \(name)")
            compared += expected.isEmpty ? 0 : 1
        }
        #expect(compared > 10)
    }

    @Test func leapDaysAreFoundAtOnceAndYearEndsPass() throws {
        let leap = try CronExpression("0 0 29 2 *")
        var date = try moment("1896-03-01T00:00Z")
        for year in ["1904", "1908", "1912"] {
            let next = try #require(leap.next(after: date, in: .gmt))
            #expect(next.description == "\(year)-02-29T00:00[UTC]")
            date = next.date
        }
        // Both fields must match when one begins with a star: the next Sunday that is a February 29.
        let sunday = try CronExpression("0 0 29 2 */7")
        #expect(sunday.next(after: try moment("2026-01-01"), in: .gmt)?.localDay == "2032-02-29")
        #expect(sunday.next(after: try moment("2088-03-01"), in: .gmt)?.localDay == "2128-02-29")
        let minute = try CronExpression("* * * * *")
        #expect(
            minute.next(after: try moment("2026-12-31T23:59:30Z"), in: .gmt)?.description == "2027-01-01T00:00[UTC]")
        #expect(minute.next(after: try moment("1969-12-31T23:58Z"), in: .gmt)?.localTime == "1969-12-31 23:59")
    }

    @Test func daysAreThoseOfTheCalendar() {
        for number in stride(from: -800_000, through: 2_000_000, by: 317) {
            #expect(CivilDay(number: number).number == number)
        }
        #expect(CivilDay(number: 0) == CivilDay(year: 1970, month: 1, day: 1))
        #expect(CivilDay(number: 20_778) == CivilDay(year: 2026, month: 11, day: 21))
    }

    @Test func aJumpOverManyYearsCostsNoMoreThanItsLimit() throws {
        let cron = try CronExpression("* * * * *")
        let end = try moment("7026-11-21T00:00Z")
        let found = cron.occurrences(after: try moment("2026-11-21T00:00Z"), through: end, in: .gmt, limit: 1000)
        #expect(found.count == 1000)
        #expect(found.last?.date == end)
    }
}

/// Every real minute of a span, with what the clock shows.
private struct Minutes {
    let moments: [Date]
    let walls: [DateComponents]
    /// Minutes on the wall since some day, to see jumps.
    let counts: [Int]

    init(zone: TimeZone, from: Date, through: Date) {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = zone
        var flat = Calendar(identifier: .gregorian)
        flat.timeZone = .gmt
        let moments = Array(
            stride(from: from.timeIntervalSince1970, through: through.timeIntervalSince1970, by: 60)
        ).map { Date(timeIntervalSince1970: $0) }
        let walls = moments.map { calendar.dateComponents([.year, .month, .day, .hour, .minute, .weekday], from: $0) }
        self.moments = moments
        self.walls = walls
        counts = walls.map { wall in
            var plain = wall
            plain.weekday = nil
            return Int((flat.date(from: plain)?.timeIntervalSince1970 ?? 0) / 60)
        }
    }

    func occurrences(of text: String, after start: Date) -> [Date] {
        let fields = text.split(separator: " ").map(String.init)
        let values = zip(fields, [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]).map { field, range in
            Set(
                field.split(separator: ",").flatMap { part -> [Int] in
                    let halves = part.split(separator: "/")
                    let ends =
                        halves[0] == "*" ? [range.0, range.1] : halves[0].split(separator: "-").map { Int($0) ?? -1 }
                    return Array(
                        stride(from: ends[0], through: ends[ends.count - 1], by: halves.count > 1 ? Int(halves[1])! : 1)
                    )
                })
        }
        let isEveryHour = values[1].count == 24
        var flat = Calendar(identifier: .gregorian)
        flat.timeZone = .gmt
        var days: [Int: DateComponents] = [:]
        func allows(_ count: Int) -> Bool {
            let day = Int((Double(count) / 1440).rounded(.down))
            let time = count - day * 1440
            guard values[0].contains(time % 60), values[1].contains(time / 60) else { return false }
            let wall =
                days[day]
                ?? flat.dateComponents(
                    [.month, .day, .weekday], from: Date(timeIntervalSince1970: Double(day) * 86_400))
            days[day] = wall
            let weekday = (wall.weekday ?? 0) - 1
            let isDay = values[2].contains(wall.day ?? 0)
            let isWeekday = values[4].contains(weekday) || weekday == 0 && values[4].contains(7)
            let isEither = !fields[2].hasPrefix("*") && !fields[4].hasPrefix("*")
            return values[3].contains(wall.month ?? 0) && (isEither ? isDay || isWeekday : isDay && isWeekday)
        }
        var seen = Set<Int>()
        var highest = Int.min
        var found: [Date] = []
        for (moment, count) in zip(moments, counts) {
            var isDue = !seen.contains(count) && allows(count)
            if highest > .min, count > highest + 1, !isEveryHour {
                isDue = isDue || (highest + 1..<count).contains { allows($0) }
            }
            seen.insert(count)
            highest = max(highest, count)
            if isDue, moment > start { found.append(moment) }
        }
        return found
    }
}

/// Expressions that are mostly due in the small hours.
private enum RandomCron {
    static func expression(_ generator: inout SplitMix) -> String {
        func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
        func field(_ range: ClosedRange<Int>, star: Int) -> String {
            switch number(0...(4 + star)) {
            case 0: return "\(number(range))"
            case 1: return "\(number(range)),\(number(range))"
            case 2:
                let low = number(range)
                return "\(low)-\(number(low...range.upperBound))"
            case 3:
                let low = number(range)
                return "\(low)-\(range.upperBound)/\(number(1...7))"
            case 4: return "*/\(number(1...7))"
            default: return "*"
            }
        }
        let hour = Bool.random(using: &generator) ? field(0...3, star: 0) : field(0...23, star: 2)
        return [
            field(0...59, star: 1), hour.replacing("*/1", with: "*"), field(1...31, star: 12), field(1...12, star: 12),
            field(0...7, star: 6),
        ].joined(separator: " ")
    }
}

/// Random numbers that are the same every time.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
