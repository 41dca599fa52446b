import Foundation
import Testing

@testable import PipelineSpec

@Suite struct ScheduleFileTests {
    private func read(_ schedule: String, _ more: String = "") throws -> ScheduleFile {
        try WorkspaceFixture.shared.get().resolver().readSchedule(
            Data((WorkspaceFixture.manifest(more) + schedule + "\n").utf8))
    }

    private func findings(_ file: ScheduleFile) -> [Finding] {
        switch file.manifest {
        case .success(let manifest): manifest.warnings
        case .failure(let invalid): invalid.findings
        }
    }

    @Test func theShortFormTakesTheLocalZone() throws {
        let file = try read("schedule: \"30 2 * * *\"")
        let definition = try #require(file.definition)
        #expect(definition.cron.description == "30 2 * * *")
        #expect(definition.timeZone.identifier == "Europe/Berlin")
        #expect(definition.catchUp == .latest && definition.maxLatenessSeconds == 86_400 && definition.isEnabled)
        #expect(try file.manifest.get().manifest.name == "support-tone")
    }

    @Test func everyKeyIsRead() throws {
        let file = try read(
            """
            schedule:
              cron: 30 2 * * mon-fri
              time_zone: Asia/Tokyo
              catch_up: all
              max_lateness: 6h
              enabled: false
            """)
        let definition = try #require(file.definition)
        #expect(definition.timeZone.identifier == "Asia/Tokyo")
        #expect(definition.catchUp == .all && definition.maxLatenessSeconds == 21_600 && !definition.isEnabled)
        #expect(findings(file) == [])
    }

    /// The lines behind the manifest's three, the place of the finding, and words of it.
    @Test(arguments: [
        ("schedule: {cron: \"30 25 * * *\"}", Place("invalid_value", 4, 22), "schedule.cron: hour: expected 0…23"),
        ("schedule: 30 25 * * *", Place("invalid_value", 4, 14), "schedule: hour"),
        ("schedule: {cron: 0 0 31 2 *}", Place("invalid_value", 4, 22), "never comes"),
        ("schedule: {crom: \"@daily\"}", Place("unknown_key", 4, 12), "did you mean cron?"),
        ("schedule: {tz: UTC, cron: \"@daily\"}", Place("unknown_key", 4, 12), "did you mean time_zone?"),
        ("schedule: {enabled: true}", Place("missing_key", 4, 11), "schedule.cron is missing"),
        ("schedule: {cron: \"@daily\", time_zone: Europe/Berln}", Place("invalid_value", 4, 39), "Europe/Berlin?"),
        ("schedule: {cron: \"@daily\", time_zone: berlin}", Place("invalid_value", 4, 39), "Europe/Berlin?"),
        ("schedule: {cron: \"@daily\", time_zone: GMT+3}", Place("invalid_value", 4, 39), "a time zone such as"),
        ("schedule: {cron: \"@daily\", catch_up: newest}", Place("invalid_value", 4, 38), "none, latest or all"),
        ("schedule: {cron: \"@daily\", max_lateness: 6}", Place("wrong_type", 4, 42), "write the unit"),
        ("schedule: {cron: \"@daily\", catch_up: none, max_lateness: 6h}", Place("conflict", 4, 58), "leave one out"),
        ("schedule: [1]", Place("wrong_type", 4, 11), "cron expression"),
        ("schedule:", Place("wrong_type", 4, 10), "cron expression"),
        ("pipeline: finetune", Place("missing_key", 1, 1), "schedule is missing"),
        ("schedule: \"@daily\"\nrun: {at: 2027-01-01}", Place("invalid_value", 5, 7), "the schedule says when"),
        ("schedule: \"@daily\"\nrun: {idempotency_key: \"k-{{ today }}\"}", Place("unsupported", 5, 24), "{{ date }}"),
        (
            "schedule: \"@daily\"\nevaluate: {metrics: \"{{ date }}\"}", Place("unsupported", 5, 21),
            "idempotency_key only"
        ),
    ])
    func refusals(lines: String, place: Place, words: String) throws {
        let found = findings(try read(lines))
        let match = found.first { Place($0) == place }
        #expect(match.map { "\($0.message); \($0.hint ?? "")" }?.contains(words) == true, "\(found)")
    }

    @Test func aBrokenManifestKeepsItsTimesAndABrokenScheduleHasNone() throws {
        let gone = try read("schedule: \"@daily\"", "merge: maybe\n")
        #expect(gone.definition != nil)
        #expect(findings(gone).map(\.pointer) == ["/merge"])
        // Everything that is wrong with a file is said at once.
        let both = try read("schedule: 61 * * * *", "merge: maybe\n")
        #expect(both.definition == nil)
        #expect(findings(both).map(\.pointer) == ["/merge", "/schedule"])
        let text = try WorkspaceFixture.shared.get().resolver().readSchedule(Data("nonsense".utf8))
        #expect(text.definition == nil)
        #expect(findings(text).first?.code == .wrongType)
    }

    @Test func idempotencyKeysHoldTheDayOnTheWall() throws {
        let file = try read("schedule: \"@daily\"", "run: {idempotency_key: 'tone-{{ date }}'}\n")
        let key = try #require(try file.manifest.get().manifest.run.idempotencyKey)
        let zone = try #require(TimeZone(identifier: "Pacific/Auckland"))
        let occurrence = Occurrence(at: Date(timeIntervalSince1970: 1_795_219_200), in: zone)
        #expect(occurrence.description == "2026-11-21T13:00[Pacific/Auckland]")
        #expect(ScheduleFile.idempotencyKey(key, at: occurrence) == "tone-2026-11-21")
        #expect(findings(file) == [])
        let fixed = try read("schedule: \"@daily\"", "run: {idempotency_key: tone}\n")
        #expect(findings(fixed).map(\.severity) == [.warning])
    }

    @Test func filesOfTheInboxHaveNeitherSchedulesNorTemplates() throws {
        let fixture = try WorkspaceFixture.shared.get()
        let schedule = try fixture.findings(WorkspaceFixture.manifest("schedule: \"@daily\"\n"))
        #expect(schedule.map(\.hint) == ["a file with a schedule belongs in Jobs/schedules"])
        let template = try fixture.findings(WorkspaceFixture.manifest("run: {idempotency_key: 'a-{{ date }}'}\n"))
        #expect(template.map(\.code) == [.unsupported])
    }

    @Test func theSchemaKnowsSchedules() throws {
        let schema = try #require(ManifestSchema.jsonSchema["properties"]?["schedule"])
        guard case .array(let forms)? = schema["anyOf"] else { return #expect(Bool(false), "\(schema)") }
        for member in ScheduleDefinition.members {
            #expect(forms.last?["properties"]?[member.key] != nil, "\(member.key)")
        }
    }
}
