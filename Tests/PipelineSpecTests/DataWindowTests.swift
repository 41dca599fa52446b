import Foundation
import Testing

@testable import PipelineSpec

/// Which files of a pattern are trained on.
@Suite struct DataWindowTests {
    private func files(_ data: String, now: String = "2026-11-21T02:30:00Z") throws -> [String] {
        let fixture = try WorkspaceFixture()
        for name in ["2026-08-22", "2026-08-24", "2026-11-20", "2027-01-01"] {
            try fixture.write("ws/logs/tickets-\(name).jsonl", "{}\n")
        }
        try fixture.write("ws/logs/more/20261119.jsonl", "{}\n")
        let resolver = try fixture.resolver()
        let resolved = try resolver.resolve(Data("name: x\nbase: models/tiny\ndata: {\(data)}\n".utf8))
        let date = try Date(now, strategy: .iso8601)
        let found = try DataFiles(of: resolved.manifest, roots: resolver.roots, now: date)
        return found.train.map { URL(filePath: $0).lastPathComponent }
    }

    @Test func theDayOnWhichTheWindowBeginsIsInIt() throws {
        #expect(
            try files("train: logs/*.jsonl, window: 90d") == [
                "tickets-2026-08-24.jsonl", "tickets-2026-11-20.jsonl", "tickets-2027-01-01.jsonl",
            ])
        #expect(
            try files("train: logs/*.jsonl, window: 90d", now: "2026-11-20T02:30:00Z").first
                == "tickets-2026-08-22.jsonl")
        #expect(try files("train: logs/**/*.jsonl, window: 2d").contains("20261119.jsonl"))
        #expect(try files("train: logs/*.jsonl").count == 4)
    }

    @Test func whatIsExcludedIsNotRead() throws {
        #expect(
            try files("train: logs/*.jsonl, exclude: logs/tickets-2026-11-20.jsonl, window: 90d") == [
                "tickets-2026-08-24.jsonl", "tickets-2027-01-01.jsonl",
            ])
        #expect(
            try files("train: logs/**/*.jsonl, exclude: [logs/tickets-2026-*.jsonl, logs/more/*]") == [
                "tickets-2027-01-01.jsonl"
            ])
    }

    @Test func aFileWithoutADateIsNotGuessedAt() throws {
        let fixture = try WorkspaceFixture()
        func findings(_ data: String) throws -> [Finding] {
            try fixture.findings("name: x\nbase: models/tiny\ndata: {\(data)}\n")
        }
        let undated = try findings("train: data/*.jsonl, window: 90d")
        #expect(undated.map(Place.init) == [Place("undated_file", 3, 37)], "\(undated)")
        #expect(try findings("train: data/a.jsonl, exclude: data/*.jsonl").map(\.code) == [.pathNotFound])
        // Every file is older than the window: that is no path that is wrong.
        try fixture.write("ws/data/tickets-2020-01-01.jsonl", "{}\n")
        let old = try findings("train: data/tickets-2020-01-01.jsonl, window: 90d")
        #expect(old.map(\.code) == [.emptyWindow] && old.first?.message.contains("data.window") == true, "\(old)")
        let slip = try findings("train: data/a.jsonl, exclude: data/z.jsonl")
        #expect(slip.map(\.severity) == [.warning] && slip.first?.column == 38, "\(slip)")
        // Nobody can say what these were to leave out.
        let outside = try findings("train: data/a.jsonl, exclude: [data/z.jsonl, /etc/*.conf]")
        #expect(outside.filter { $0.severity == .error }.map(\.code) == [.pathOutsideRoots], "\(outside)")
        #expect(outside.last?.column == 53, "\(outside)")
        let folder = try findings("train: data/a.jsonl, exclude: data")
        #expect(folder.map(\.code) == [.notARegularFile], "\(folder)")
    }

    @Test(
        arguments: [
            ("a/2026-11-21.jsonl", "2026-11-21"), ("a/20261121-x.jsonl", "2026-11-21"),
            ("2026/11/21/x.jsonl", "2026-11-21"),
            ("2025-01-01/2026_11_21.csv", "2026-11-21"), ("x-2024-02-29.gz", "2024-02-29"), ("x-2023-02-29.gz", nil),
            ("v1.2.jsonl", nil), ("ticket-202611219.jsonl", nil), ("2026-13-01", nil), ("2026-1121", nil),
        ] as [(String, String?)])
    func datesInNames(_ name: String, _ day: String?) throws {
        #expect(DatedName.day(of: name)?.formatted(.iso8601.year().month().day()) == day)
    }
}
