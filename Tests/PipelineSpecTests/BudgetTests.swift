import Foundation
import Testing

@testable import PipelineSpec

private func moment(_ text: String) throws -> Date {
    Date(timeIntervalSince1970: try #require(Moment.parse(text, timeZone: .gmt)))
}

@Suite struct BudgetTests {
    @Test func aBudgetIsReadInAllItsForms() throws {
        let fixture = try WorkspaceFixture()
        func budget(_ text: String) throws -> JobManifest.Budget? {
            let manifest = try fixture.resolve(WorkspaceFixture.manifest("run: {budget: \(text)}\n")).manifest
            // What is stored is what was meant.
            #expect(try JSONDecoder().decode(JobManifest.self, from: JSONEncoder().encode(manifest)) == manifest)
            return manifest.run.budget
        }
        #expect(try fixture.resolve(WorkspaceFixture.manifest()).manifest.run.budget == nil)
        #expect(try budget("null") == nil)
        var wanted = JobManifest.Budget()
        wanted.wallSeconds = 4 * 3600
        #expect(try budget("4h") == wanted && budget("{wall: 4h}") == wanted)
        wanted.endMinute = 6 * 60 + 30
        #expect(try budget(#"{wall: 4h, by: "06:30"}"#) == wanted && budget("{wall: 240m, by: 6:30}") == wanted)
        wanted.wallSeconds = nil
        wanted.timeZone = "Asia/Tokyo"
        #expect(try budget("{by: 06:30, time_zone: Asia/Tokyo}") == wanted)
    }

    @Test(arguments: [
        ("{}", "missing_key"), ("{wall: null}", "missing_key"), ("{wall: 4}", "wrong_type"),
        (#"{by: "24:00"}"#, "invalid_value"), (#"{by: "6 am"}"#, "invalid_value"), ("{until: 06:00}", "unknown_key"),
        ("{by: 06:00, time_zone: Nowhere/City}", "invalid_value"), ("0s", "out_of_range"),
    ])
    func aWrongBudgetIsRefused(text: String, code: String) throws {
        let fixture = try WorkspaceFixture()
        let findings = try fixture.findings(WorkspaceFixture.manifest("run: {budget: \(text)}\n"))
        #expect(findings.map(\.code.rawValue).contains(code), "\(findings)")
    }

    /// The moments are those of `zdump -v Europe/Berlin`: clocks go forward at 2026-03-29T01:00Z, back at 2026-10-25T01:00Z.
    @Test(arguments: [
        ("06:00", "2026-11-21T22:00Z", "2026-11-22T05:00Z"),
        ("06:00", "2026-11-22T04:59Z", "2026-11-22T05:00Z"),
        ("06:00", "2026-11-22T05:00Z", "2026-11-23T05:00Z"),
        ("06:00", "2026-03-28T22:00Z", "2026-03-29T04:00Z"),
        ("06:00", "2026-10-24T22:00Z", "2026-10-25T05:00Z"),
        // Never shown on that day: the first minute behind the gap.
        ("02:30", "2026-03-28T22:00Z", "2026-03-29T01:00Z"),
        // Shown twice: the first time, and when that has passed the next day's.
        ("02:30", "2026-10-24T22:00Z", "2026-10-25T00:30Z"),
        ("02:30", "2026-10-25T00:45Z", "2026-10-26T01:30Z"),
    ])
    func theEndIsTheNextTimeOnTheWall(by: String, start: String, end: String) throws {
        var budget = JobManifest.Budget()
        budget.endMinute = TimeOfDay.minute(by)
        budget.timeZone = "Europe/Berlin"
        #expect(try budget.deadline(startingAt: moment(start)) == moment(end))
        budget.timeZone = "local"
        let zone = try #require(TimeZone(identifier: "Europe/Berlin"))
        #expect(try budget.deadline(startingAt: moment(start), local: zone) == moment(end))
        budget.endMinute = nil
        #expect(try budget.deadline(startingAt: moment(start)) == nil)
    }
}

@Suite struct QuietHoursTests {
    private func quiet(_ texts: String...) throws -> QuietHours { try QuietHours(texts, timeZone: "Europe/Berlin") }

    @Test func hoursHoldByTheClockOnTheWall() throws {
        let office = try quiet("mon-fri 08:00-18:00")
        // 2026-11-20 is a Friday; Berlin is an hour ahead.
        for (text, isQuiet) in [
            ("2026-11-20T06:59:59Z", false), ("2026-11-20T07:00Z", true), ("2026-11-20T16:59:59Z", true),
            ("2026-11-20T17:00Z", false), ("2026-11-21T10:00Z", false), ("2026-11-23T10:00Z", true),
        ] {
            #expect(try office.isQuiet(at: moment(text)) == isQuiet, "\(text)")
            #expect(try (office.end(after: moment(text)) != nil) == isQuiet, "\(text)")
        }
        #expect(try office.end(after: moment("2026-11-20T10:11:12Z")) == moment("2026-11-20T17:00Z"))
        let tokyo = try QuietHours(["08:00-18:00"], timeZone: "Asia/Tokyo")
        #expect(try tokyo.isQuiet(at: moment("2026-11-20T00:00Z")) && !tokyo.isQuiet(at: moment("2026-11-20T12:00Z")))
    }

    @Test func spansOverMidnightBelongToTheDayTheyBeginOn() throws {
        let night = try quiet("fri 22:00-06:00")
        #expect(try night.isQuiet(at: moment("2026-11-20T21:30Z")))
        #expect(try night.isQuiet(at: moment("2026-11-21T04:30Z")))
        #expect(try !night.isQuiet(at: moment("2026-11-20T04:30Z")), "that was Thursday's night")
        #expect(try night.end(after: moment("2026-11-20T21:30Z")) == moment("2026-11-21T05:00Z"))
        // Spans that touch are one.
        let long = try quiet("sat 00:00-24:00", "sun 00:00-12:00")
        #expect(try long.end(after: moment("2026-11-21T10:00Z")) == moment("2026-11-22T11:00Z"))
    }

    /// Clocks go forward at 2026-03-29T01:00Z from 02:00 to 03:00, and back at 2026-10-25T01:00Z from 03:00 to 02:00.
    @Test func theHoursThatAreSkippedOrShownTwice() throws {
        let night = try quiet("01:00-05:00")
        #expect(try night.end(after: moment("2026-03-29T00:30Z")) == moment("2026-03-29T03:00Z"), "three hours")
        #expect(try night.end(after: moment("2026-10-24T23:30Z")) == moment("2026-10-25T04:00Z"), "five hours")
        // Within the hour that comes twice: it is quiet twice, and not in between.
        let half = try quiet("02:00-02:30")
        #expect(try half.end(after: moment("2026-10-25T00:00Z")) == moment("2026-10-25T00:30Z"))
        #expect(try !half.isQuiet(at: moment("2026-10-25T00:45Z")))
        #expect(try half.end(after: moment("2026-10-25T01:10Z")) == moment("2026-10-25T01:30Z"))
        // Never shown on that day.
        for minute in 0..<120 {
            #expect(try !half.isQuiet(at: moment("2026-03-29T00:00Z").addingTimeInterval(Double(minute) * 60)))
        }
        // Into the gap.
        let into = try quiet("00:30-02:30")
        #expect(try into.end(after: moment("2026-03-28T23:45Z")) == moment("2026-03-29T01:00Z"))
    }

    @Test func settingsAreReadAndWrongOnesRefused() throws {
        func settings(_ text: String) throws -> WorkspaceSettings { try WorkspaceSettings(Data(text.utf8)) }
        let plain = try settings("quiet: 08:00-18:00\n")
        #expect(plain.quiet?.texts == ["08:00-18:00"] && plain.quiet?.timeZone == "local")
        let full = try settings(
            """
            quiet: {hours: [mon-fri 8:00-18:00, "sat,sun 10:00-12:00"], time_zone: Europe/Berlin}
            queues: {urgent: {quiet: []}, night: {quiet: ["06:00-22:00"]}, default: {max_jobs: 2}}
            """)
        #expect(full.quiet == (try quiet("mon-fri 8:00-18:00", "sat,sun 10:00-12:00")))
        #expect(full.queues["urgent"]?.quiet?.texts == [] && full.queues["night"]?.quiet?.texts == ["06:00-22:00"])
        #expect(full.queues["default"]?.quiet == nil)
        #expect(full.all.contains { $0.key == "quiet" && $0.origin == .workspace })
        #expect(try settings("roots: []\n").quiet == nil)
        for (text, code) in [
            ("quiet: 08:00\n", "invalid_value"), ("quiet: [08:00-25:00]\n", "invalid_value"),
            ("quiet: [someday 08:00-18:00]\n", "invalid_value"), ("quiet: 00:00-24:00\n", "invalid_value"),
            ("quiet: [00:00-12:00, 12:00-24:00]\n", "invalid_value"), ("quiet: {time_zone: UTC}\n", "missing_key"),
            ("quiet: {hours: 08:00-09:00, zone: UTC}\n", "unknown_key"), ("quiet: 08:00-08:00\n", "invalid_value"),
        ] {
            let findings = #expect(throws: InvalidFile.self, "\(text)") { try settings(text) }?.findings
            #expect(findings?.map(\.code.rawValue) == [code], "\(text): \(findings ?? [])")
        }
    }
}
