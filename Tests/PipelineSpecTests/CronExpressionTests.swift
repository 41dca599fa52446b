import Foundation
import Testing

@testable import PipelineSpec

@Suite struct CronExpressionTests {
    private func members(_ set: CronExpression.Set64) -> [Int] { (0...63).filter { set.contains($0) } }

    @Test func fieldsAreRead() throws {
        let cron = try CronExpression("  5,10-12,*/30  0-23/8 1 JAN,mar-May mon-fri ")
        #expect(cron.description == "5,10-12,*/30 0-23/8 1 JAN,mar-May mon-fri")
        #expect(members(cron.minutes) == [0, 5, 10, 11, 12, 30])
        #expect(members(cron.hours) == [0, 8, 16])
        #expect(members(cron.daysOfMonth) == [1])
        #expect(members(cron.months) == [1, 3, 4, 5])
        #expect(members(cron.daysOfWeek) == [1, 2, 3, 4, 5])
        #expect(cron.isEitherDay)
    }

    @Test(arguments: [
        ("0 0 * * 7", [0]), ("0 0 * * sun", [0]), ("0 0 * * fri-sun", [0, 5, 6]), ("0 0 * * 5-7", [0, 5, 6]),
        ("0 0 * * sun-tue", [0, 1, 2]), ("0 0 * * 0-7", [0, 1, 2, 3, 4, 5, 6]), ("0 0 * * */2", [0, 2, 4, 6]),
        ("0 0 * * Mon,WED", [1, 3]),
    ])
    func daysOfTheWeek(text: String, days: [Int]) throws {
        #expect(members(try CronExpression(text).daysOfWeek) == days)
    }

    @Test(arguments: [
        ("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"), ("@yearly", "0 0 1 1 *"), ("@Annually", "0 0 1 1 *"),
    ])
    func shortcuts(text: String, meaning: String) throws {
        let (a, b) = (try CronExpression(text), try CronExpression(meaning))
        #expect(a.description == text)
        #expect(
            (a.minutes, a.hours, a.daysOfMonth, a.months) == (b.minutes, b.hours, b.daysOfMonth, b.months)
                && a.daysOfWeek == b.daysOfWeek && a.isEitherDay == b.isEitherDay)
    }

    /// Expression, field, column, and words of the message or the hint.
    @Test(arguments: [
        ("", "", 1, "nothing"), ("30 2 * *", "", 8, "expected five fields"), ("0 30 2 * * *", "", 12, "seconds"),
        ("@reboot", "", 1, "no shortcut"), ("@dayly", "", 1, "did you mean @daily?"), ("@daily 3", "", 1, "alone"),
        ("60 2 * * *", "minute", 1, "0…59"), ("30 24 * * *", "hour", 4, "midnight is hour 0"),
        ("30 2 0 * *", "day of month", 6, "1…31"), ("30 2 * 13 *", "month", 8, "1…12"),
        ("30 2 * * 8", "day of week", 10, "0…7"), ("30 2 * * monday", "day of week", 10, "did you mean mon?"),
        ("30 2 * juni *", "month", 8, "did you mean jun?"), ("30 2 * * fri-tue", "day of week", 10, "backwards"),
        ("5,61,7 2 * * *", "minute", 3, "61"), ("5-61 2 * * *", "minute", 3, "61"),
        ("5, 2 * * *", "minute", 3, "missing"),
        ("*/0 2 * * *", "minute", 3, "at least 1"), ("*/x 2 * * *", "minute", 3, "at least 1"),
        ("*/90 2 * * *", "minute", 3, "longer than the field"), ("5/15 2 * * *", "minute", 1, "5-59/15"),
        ("30 -2 * * *", "hour", 4, "missing"), ("30 +2 * * *", "hour", 4, "0…23"), ("30 ２ * * *", "hour", 4, "0…23"),
        ("30 2 ? * *", "day of month", 6, "another program"), ("30 2 L * *", "day of month", 6, "another program"),
        ("30 2 31 2 *", "day of month", 6, "never comes"), ("30 2 30,31 feb *", "day of month", 6, "never comes"),
        ("30 2 31 4,6,9,11 *", "day of month", 6, "never comes"),
    ])
    func refusals(text: String, field: String, column: Int, words: String) throws {
        let problem = try #require(throws: CronExpression.Problem.self) { try CronExpression(text) }
        #expect(problem.field ?? "" == field && problem.column == column, "\(text): \(problem)")
        #expect(problem.description.contains(words), "\(text): \(problem)")
    }

    @Test(arguments: ["0 0 29 2 *", "0 0 31 1-12 *", "0 0 31 2 mon", "0 0 30 2,3 *", "*/60 */24 * * *"])
    func rareButPossible(text: String) throws {
        #expect(try CronExpression(text).next(after: Date(timeIntervalSince1970: 1e9), in: .gmt) != nil)
    }
}
