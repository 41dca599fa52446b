import Foundation
import Synchronization
import Testing

@testable import PipelineSpec

@Suite struct ValueTests {
    @Test(arguments: [
        ("8h", 28_800.0), ("90m", 5400), ("6h30m", 23_400), ("1.5h", 5400), ("45s", 45), ("2d", 172_800),
        ("1w", 604_800),
        ("0s", 0), ("1h0.5s", 3600.5),
    ])
    func durations(_ text: String, _ seconds: Double) {
        #expect(Quantity.seconds(text) == seconds)
        #expect(Quantity.seconds(Quantity.duration(seconds)) == seconds)
    }

    @Test(arguments: ["", "8", "h", "8 h", "30m6h", "1h1h", "-1h", "1e3s", "8H", "1.h", ".5h", "1..5h", "٣h", "8hx"])
    func noDurations(_ text: String) { #expect(Quantity.seconds(text) == nil) }

    @Test func sizesAndShares() {
        #expect(Quantity.bytes("512MiB") == 536_870_912)
        #expect(Quantity.bytes("1.5 GB") == 1_500_000_000)
        #expect(Quantity.bytes("512") == nil)
        #expect(Quantity.bytes("99999999999TiB") == nil)
        #expect(Quantity.size(536_870_912) == "512MiB")
        #expect(Quantity.size(1000) == "1000B")
        #expect(Quantity.share("3%") == 0.03)
        #expect(Quantity.share("3") == nil)
        #expect(Quantity.share("-3%") == nil)
        // Every share that was written as a percentage comes back.
        for text in (0...1000).map({ "\(Double($0) / 10)%" }) + [
            "33.333333333333336%", "0.0001%", "14.285714285714286%",
        ] {
            let share = Quantity.share(text)
            #expect(share != nil && Quantity.share(Quantity.percent(share ?? 0)) == share, "\(text)")
        }
        #expect(Quantity.percent(0.07) == "7%")
    }

    @Test func moments() {
        let berlin = TimeZone(identifier: "Europe/Berlin")!
        #expect(Moment.parse("2027-01-31T02:30", timeZone: berlin) == 1_801_359_000)
        #expect(Moment.parse("2027-01-31 02:30:00", timeZone: berlin) == 1_801_359_000)
        #expect(Moment.parse("2027-01-31T01:30Z", timeZone: berlin) == 1_801_359_000)
        #expect(Moment.parse("2027-01-30T20:30-05:00", timeZone: berlin) == 1_801_359_000)
        #expect(Moment.text(1_801_359_000) == "2027-01-31T01:30:00Z")
        for bad in ["2027-13-01T00:00", "2027-02-29T00:00", "2027-01-31T24:00", "02:30", "soon"] {
            #expect(Moment.parse(bad, timeZone: berlin) == nil)
        }
    }

    @Test func jsonHasOneSpelling() {
        let value: JSONValue = ["b": [1, .number(2), .number(1e-5), .number(0.1)], "a": "é\n\"\\\u{1}/", "c": [:]]
        #expect(value.text() == #"{"a":"é\n\"\\\u0001/","b":[1,2,1e-05,0.1],"c":{}}"#)
        #expect(value.text(pretty: true).hasPrefix("{\n  \"a\": "))
        #expect(JSONValue.number(-0.0).text() == "0")
        #expect(JSONValue.number(1e300).text() == "1e+300")
        #expect(JSONValue.integer(3) == .number(3))
        #expect(Set<JSONValue>([3, .number(3)]).count == 1)
    }

    @Test func identifiersRiseAndReadBack() async throws {
        let early = ULID(at: Date(timeIntervalSince1970: 1_000_000_000))
        #expect(ULID(early.description) == early)
        var last = ULID()
        for step in 0..<1000 {
            // The clock steps back half of the time.
            let next = ULID(at: Date(timeIntervalSinceNow: step % 2 == 0 ? 0 : -3600))
            #expect(last < next && last.description < next.description)
            last = next
        }
        let fixed = try #require(ULID("01ARZ3NDEKTSV4RRFFQ69G5FAV"))
        #expect(fixed.description == "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        #expect(abs(fixed.date.timeIntervalSince1970 - 1_469_922_850.259) < 0.001)
        for bad in ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU"] {
            #expect(ULID(bad) == nil)
        }
        let made = await withTaskGroup(of: [ULID].self) { group in
            for _ in 0..<4 { group.addTask { (0..<500).map { _ in ULID() } } }
            return await group.reduce(into: Set<ULID>()) { $0.formUnion($1) }
        }
        #expect(made.count == 2000)
    }

    @Test func inboxNames() {
        for name in [
            "a.yaml", "A b-1_2.yml", "x.json", "01ARZ3NDEKTSV4RRFFQ69G5FAV__x.yaml",
            String(repeating: "x", count: 200) + ".yaml",
        ] {
            #expect(InboxName(name) == .manifest, "\(name)")
        }
        for name in [
            "", ".hidden.yaml", "#x.yaml#", "x.yaml~", ".x.yaml.swp", "x.swx", "x.tmp", "x.part", "x.yaml.partial",
            "x.filepart", "x.crdownload", "x.bak", "4913", ".goutputstream-AB12", ".nfs0001", ".x.yaml.a8Df3k",
            "sedAb12Cd",
        ] {
            #expect(InboxName(name) == .ignored, "\(name)")
        }
        for name in [
            "x.txt", "README", "é.yaml", "-x.yaml", "a\nb.yaml", "a;b.yaml", "x.YAML",
            String(repeating: "x", count: 201) + ".yaml",
        ] {
            guard case .refused(let reason) = InboxName(name) else {
                Issue.record("\(name) is not refused")
                continue
            }
            #expect(!reason.isEmpty)
        }
        let long = String(repeating: "y", count: 300) + ".yaml"
        for name in ["job.yaml", "é!.yml", "-.yaml", "..yaml", "x.json", long] {
            let safe = InboxName.accepted(from: name)
            #expect(InboxName("\(ULID())__\(safe)") == .manifest, "\(safe)")
        }
        let id = ULID()
        #expect(InboxName.claim(in: "\(id)__a__b.yaml")?.id == id)
        #expect(InboxName.claim(in: "\(id)__a__b.yaml")?.name == "a__b.yaml")
        #expect(InboxName.claim(in: "x__b.yaml") == nil)
    }
}

@Suite struct ManifestOverridesTests {
    private func apply(_ assignments: [String], _ text: String) throws -> JSONValue {
        let data = try ManifestOverrides.apply(assignments, to: Data(text.utf8))
        return try DocumentReader().read(data).json
    }

    @Test func valuesAreReplacedAndAdded() throws {
        let text =
            "name: x\nbase: models/tiny\ntrain: {epochs: 3, learning_rate: 2e-4}\nrun: {at: \"2027-01-31T02:30\"}\n"
        #expect(
            try apply(
                ["train.epochs=1", "adapter.targets=[q_proj, v_proj]", "merge={dtype: bf16}", "run.hold=true"], text)
                == [
                    "name": "x", "base": "models/tiny", "train": ["epochs": 1, "learning_rate": .number(2e-4)],
                    "adapter": ["targets": ["q_proj", "v_proj"]], "merge": ["dtype": "bf16"],
                    "run": ["at": "2027-01-31T02:30", "hold": true],
                ])
        #expect(try apply(["train.steps=5"], text)["train"] == ["learning_rate": .number(2e-4), "steps": 5])
        #expect(try apply(["merge.dtype=fp16"], text)["merge"] == ["dtype": "fp16"])
        #expect(try apply(["train.early_stopping=null"], text)["train"]?["early_stopping"] == .null)
        #expect(try apply(["data.columns.prompt=q"], text)["data"] == ["columns": ["prompt": "q"]])
        #expect(try apply(["name=\"2e-4\""], text)["name"] == "2e-4")
        #expect(try apply(["name=a=b"], text)["name"] == "a=b")
    }

    @Test func shortDataGrows() throws {
        let text = "name: x\ndata: [a.jsonl, b.jsonl]\n"
        #expect(
            try apply(["data.max_length=64"], text)["data"] == ["train": ["a.jsonl", "b.jsonl"], "max_length": 64])
        #expect(try apply(["data=*.jsonl"], text)["data"] == "*.jsonl")
        #expect(try apply(["data.test=5%"], text)["data"]?["test"] == "5%")
    }

    @Test func whatWasWrittenStaysAsItWas() throws {
        let fixture = try WorkspaceFixture.shared.get()
        let text = WorkspaceFixture.manifest(
            "adapter: {rank: \"8\"}\ntrain: {learning_rate: 2e-4}\nrun: {idempotency_key: \"true\"}\n")
        let data = try ManifestOverrides.apply(["train.seed=1"], to: Data(text.utf8))
        let error = try #require(throws: InvalidFile.self) { try fixture.resolver().resolve(data) }
        #expect(error.findings.map(\.pointer) == ["/adapter/rank"])
        let fixed = try ManifestOverrides.apply(["adapter.rank=4"], to: data)
        let job = try fixture.resolver().resolve(fixed)
        #expect(job.manifest.adapter.rank == 4)
        #expect(job.manifest.train.seed == 1)
        #expect(job.manifest.run.idempotencyKey == "true")
    }

    @Test func mistakesAreErrors() {
        let cases: [(String, String)] = [
            ("train.epochs", "expected KEY=VALUE"), ("lora_r=8", "did you mean adapter.rank?"),
            ("train.epoch=8", "did you mean epochs?"), ("merge.x=1", "unknown key"),
            ("train.epochs=[1", "ends in the middle"),
        ]
        for (assignment, message) in cases {
            let error = #expect(throws: SpecError.self) { try apply([assignment], "name: x\n") }
            #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
        }
        #expect(throws: InvalidFile.self) { try apply(["train.epochs=1"], "[") }
    }
}
