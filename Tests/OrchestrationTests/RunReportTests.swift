import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The report of a job, from files that a stage would have left.
@Suite struct RunReportTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func url(_ path: String) -> URL { folder.url.appending(path: path) }

    private func write(_ text: String, to path: String) throws {
        try FileManager.default.createDirectory(
            at: url(path).deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url(path))
    }

    private func stage(_ name: String, attempts: [JobDetail.Attempt] = []) -> JobDetail.Stage {
        JobDetail.Stage(
            name: name, kind: name, needs: [], state: .succeeded, cacheKey: nil, outputDigest: "sha256:\(name)",
            outputPath: url("\(name)/out").path, why: nil, attempts: attempts)
    }

    private func attempt(
        _ stage: String, _ number: Int, failure: StageFailure? = nil, metrics: [String: Double] = [:]
    ) -> JobDetail.Attempt {
        JobDetail.Attempt(
            id: "A\(number)", number: number, state: failure == nil ? .succeeded : .failed,
            directory: RunDirectory(url("\(stage).\(number)")), pid: nil, exitCode: nil, signal: nil, failure: failure,
            failureClass: nil, metrics: metrics, resumedFrom: nil, peakRSSBytes: 64 << 20, cpuSeconds: 2,
            startedAt: Date(timeIntervalSince1970: 0), endedAt: Date(timeIntervalSince1970: 3))
    }

    private func detail(
        _ stages: [JobDetail.Stage], name: String = "tone", state: JobState = .succeeded,
        health: JobManifest.Health = .init()
    ) throws -> JobDetail {
        let status = JobStatus(
            id: "01JOB", name: name, tenant: "default", queue: "default", priority: 0, state: state, stage: nil,
            isStageLive: false, progress: 1, event: nil, elapsed: 12, eta: nil, reason: nil, adapter: "tone:1",
            createdAt: Date(timeIntervalSince1970: 0), startedAt: Date(timeIntervalSince1970: 1),
            finishedAt: Date(timeIntervalSince1970: 13), retryOf: nil)
        var manifest = JobManifest(name: name, base: .folder("/models/<tiny>"))
        manifest.data.health = health
        return JobDetail(
            status: status, manifest: manifest,
            manifestDigest: "sha256:m",
            origins: try ProtocolJSON.encode(["name": "manifest", "base": "manifest", "train.seed": "default"]),
            after: [:],
            stages: stages, events: [])
    }

    /// What the stages of a whole job leave.
    private func makeStages() throws -> [JobDetail.Stage] {
        try write(
            #"{"classes":["<world>","sports"],"lengths":{"bars":[{"upTo":32,"count":3},{"upTo":48,"count":9}]},"examples":[{"tokens":3,"pieces":[{"text":"secret <b>","trained":false},{"text":" words","trained":true}]}]}"#,
            to: "tokenize/out/report.json")
        for (number, steps) in [(1, 1...4), (2, 3...6)] {
            let directory = RunDirectory(url("train.\(number)"))
            try directory.make()
            for step in steps {
                try directory.append(
                    ProgressEvent(
                        time: 0, fraction: 0, step: step, loss: Double(10 - step) + Double(number) / 10,
                        learningRate: Double(step) / 1000))
            }
        }
        try write(
            #"{"curve":[{"step":3,"loss":1}],"validations":[{"step":3,"loss":8.25}]}"#, to: "train/out/training.json")
        try write(
            #"{"sets":[{"name":"test","values":{"base":{"loss":3.5,"perplexity":33.1},"trained":{"loss":2.25,"perplexity":9.49}},"confusion":[[7,3],[1,9]]},{"name":"retention","values":{"trained":{"loss":4.5}}}]}"#,
            to: "evaluate/out/evaluation.json")
        try write(
            #"[{"prompt":"Why <b>?","reference":" So.","answers":{"base":" Once","trained":" So & so."}}]"#,
            to: "evaluate/out/samples.json")
        try write(
            #"{"lineage":{"seed":42,"engine":"plain","manifest":{"name":"x"},"data":{"train":[{"path":"/d/a","length":7,"digest":"sha256:d"}]}}}"#,
            to: "package/out/adapter/lorajobs.json")
        return [
            stage("tokenize"), stage("train", attempts: [attempt("train", 1), attempt("train", 2)]), stage("evaluate"),
            stage("package"),
        ]
    }

    @Test func theNumbersAreThoseOfTheStages() throws {
        let report = RunReport(try detail(makeStages()))
        let json = report.json
        #expect(json["job"]?["adapter"] == "tone:1" && json["job"]?["seconds"] == 12)
        guard case .array(let loss)? = json["loss"] else {
            Issue.record("\(json.text())")
            return
        }
        // The second attempt went on from step 2: what the first did after it counts no more.
        #expect(loss.map { $0["step"] } == [1, 2, 3, 4, 5, 6])
        #expect(loss[1]["value"] == .number(8.1) && loss[2]["value"] == .number(7.2))
        #expect(json["validation_loss"] == .array([.object(["step": 3, "value": .number(8.25)])]))
        #expect(json["metrics"]?["loss"] == .object(["base": .number(3.5), "trained": .number(2.25)]))
        #expect(json["metrics"]?["retention.loss"] == .object(["trained": .number(4.5)]))
        let answers: JSONValue = ["base": " Once", "trained": " So & so."]
        #expect(json["samples"] == .array([["prompt": "Why <b>?", "reference": " So.", "answers": answers]]))
        #expect(report.html.contains("<td>Why &lt;b&gt;?</td><td> So.</td><td> Once</td><td> So &amp; so.</td>"))
        #expect(
            json["lengths"]
                == .array([
                    .object(["up_to": 32, "count": 3]), .object(["up_to": 48, "count": 9]),
                ]))
        #expect(json["lineage"]?["seed"] == 42)
        #expect(json["values"]?["name"] == "tone" && json["values"]?["train.seed"] == nil)
    }

    @Test func classesAreNamedWhereOneWasTakenForAnother() throws {
        let report = RunReport(try detail(makeStages()))
        let counts: JSONValue = [[7, 3], [1, 9]]
        #expect(report.json["confusion"] == .object(["test": ["classes": ["<world>", "sports"], "counts": counts]]))
        #expect(
            report.html.contains("<tr><th>&lt;world&gt;</th><td class=\"number right\" style=\"--share: 70%\">7</td>"))
        let confusion = try #require(report.confusions.first)
        #expect(confusion.summary() == "3 <world> taken for sports, 1 sports taken for <world>")
        #expect(confusion.summary(1) == "3 <world> taken for sports, 1 others")
    }

    /// A table of hundreds of columns is read by nobody.
    @Test func manyClassesAreListedByTheirMistakes() throws {
        let size = 40
        var counts = (0..<size).map { row in (0..<size).map { $0 == row ? 5 : 0 } }
        counts[17][30] = 4
        counts[3][17] = 2
        let set = JSONValue.object([
            "name": "test", "confusion": .array(counts.map { .array($0.map { .integer($0) }) }),
        ])
        try write(JSONValue.object(["sets": .array([set])]).text(), to: "evaluate/out/evaluation.json")
        let report = RunReport(try detail([stage("evaluate")]))
        #expect(report.html.contains("<td>17</td><td>30</td><td class=\"number\">4</td>"))
        #expect(!report.html.contains("class=\"confusion\""))
        #expect(Confusion(set, names: [])?.mistakes.map(\.count) == [4, 2])
        #expect(Confusion(["name": "test", "confusion": [[1, 2], [3]]], names: []) == nil)
    }

    @Test func thePageHoldsTheSameAndNothingFromElsewhere() throws {
        let page = RunReport(try detail(makeStages())).html
        for text in ["33.1", "9.49", "8.25", "tone:1", "sha256:d", "64", "polyline", "learning rate", "≤ 48"] {
            #expect(page.contains(text), "\(text)")
        }
        for text in ["http://", "https://", "<script", "src=", "href=", "@import", "url("] {
            #expect(!page.contains(text), "\(text)")
        }
        #expect(page.contains("default-src 'none'") && page.contains("/models/&lt;tiny&gt;"))
        // Every element that is opened is closed.
        for tag in ["section", "table", "tbody", "tr", "td", "svg", "dl", "body", "html", "text"] {
            let opened = page.matches(of: try Regex("<\(tag)[ >]")).count
            #expect(opened == page.matches(of: try Regex("</\(tag)>")).count, "\(tag)")
        }
    }

    /// What a tokenize stage says of its data, as it writes it.
    private static let health = #"""
        {"lengths":{"bars":[]},"examples":[{"tokens":1,"pieces":[{"text":"secret","trained":true}]}],
         "health":{"duplicates":0.125,"nearDuplicates":{"judged":8,"found":2},"overlap":{"test":0.5,"validation":0},
         "passages":13,"passagesComparedOneIn":4,"personal":{"mailAddresses":2,"phoneNumbers":1,"cardNumbers":0},
         "labels":{"secret":3},"meanLength":9.5,"first":{"max_duplicates":"/d/<a>:7","max_overlap":"/d/b:2"}}}
        """#

    @Test func howTheDataAreIsShownBesideWhatIsAllowed() throws {
        try write(Self.health, to: "tokenize/out/report.json")
        var limits = JobManifest.Health()
        (limits.maxDuplicates, limits.maxOverlap, limits.maxPersonal, limits.maxLabelDrift) = (0.1, 0.5, 3, 0.2)
        let report = RunReport(
            try detail(
                [stage("tokenize", attempts: [attempt("tokenize", 1, metrics: ["length_drift": 0.25, "steps": 3])])],
                health: limits))
        let json = try #require(report.json["data_health"])
        func figure(_ value: JSONValue, limit: JSONValue = .null, _ first: JSONValue = .null, exceeded: Bool = false)
            -> JSONValue
        {
            .object(["value": value, "limit": limit, "first": first, "exceeded": .bool(exceeded)])
        }
        #expect(json["duplicates"] == figure(.number(0.125), limit: .number(0.1), "/d/<a>:7", exceeded: true))
        #expect(json["near_duplicates"] == figure(.number(0.25)))
        #expect(json["test_overlap"] == figure(.number(0.5), limit: .number(0.5), "/d/b:2"))
        #expect(json["validation_overlap"] == figure(.number(0), limit: .number(0.5)))
        #expect(json["mail_addresses"] == figure(2) && json["phone_numbers"] == figure(1))
        #expect(json["card_numbers"] == figure(0) && json["personal"] == figure(3, limit: 3))
        #expect(json["length_drift"] == figure(.number(0.25)))
        #expect(json["label_drift"] == figure(.null, limit: .number(0.2)), "nothing to compare with")
        #expect(report.json["passages_compared_one_in"] == 4)
        let page = report.html
        let row = "<td class=\"number\">12.5%</td><td class=\"number\">10%</td><td>above the limit</td>"
        #expect(page.contains("\(row)<td>/d/&lt;a&gt;:7</td>"), "\(page)")
        #expect(page.contains("<td class=\"number\">not known</td><td class=\"number\">20%</td>"))
        #expect(page.contains("One passage in 4 was compared"))
        #expect(!page.contains("secret") && !report.json.text().contains("secret"))
        // Without limits and without anything to compare with.
        let plain = RunReport(try detail([stage("tokenize")]))
        #expect(plain.json["data_health"]?["length_drift"] == nil && plain.html.contains("<h2>Data health</h2>"))
        #expect(plain.json["data_health"]?["personal"] == figure(3))
    }

    @Test func aStageThatWasEndedByItsDataShowsThem() throws {
        let failure = StageFailure(code: "unhealthy_data", message: "data.health.max_personal")
        try write(Self.health, to: "tokenize.1/out/report.json")
        var stage = stage("tokenize", attempts: [attempt("tokenize", 1, failure: failure, metrics: ["label_drift": 1])])
        (stage.state, stage.outputPath) = (.failed, nil)
        let report = RunReport(try detail([stage], state: .failed))
        #expect(report.json["data_health"]?["label_drift"]?["value"] == .number(1))
        #expect(report.json["data_health"]?["near_duplicates"]?["value"] == .number(0.25))
        // What an earlier version wrote says nothing of it.
        try write(#"{"lengths":{"bars":[]}}"#, to: "tokenize.1/out/report.json")
        let old = RunReport(try detail([stage], state: .failed))
        #expect(old.json["data_health"] == [:] && !old.html.contains("Data health"))
    }

    @Test func dataIsThereOnlyWhenAsked() throws {
        let stages = try makeStages()
        let without = RunReport(try detail(stages))
        #expect(!without.html.contains("secret") && !without.json.text().contains("secret"))
        let with = RunReport(try detail(stages), includesExamples: true)
        #expect(with.html.contains("secret &lt;b&gt;<mark> words</mark>"))
        #expect(with.json.text().contains("secret"))
    }

    @Test func aJobThatFailedHasAReportOfWhatThereIs() throws {
        let failure = StageFailure(code: "bad_record", message: "a.jsonl:2: <oops>")
        try write("not JSON", to: "tokenize/out/report.json")
        let report = RunReport(
            try detail([stage("tokenize", attempts: [attempt("tokenize", 1, failure: failure)])], state: .failed))
        #expect(report.html.contains("a.jsonl:2: &lt;oops&gt;") && report.html.contains("state failed"))
        #expect(report.json["attempts"].map { $0.text().contains("bad_record") } == true)
        #expect(!report.html.contains("<polyline"))
        try report.write(to: folder.url)
        let read = try JSONDecoder().decode(JSONValue.self, from: Data(contentsOf: url("report.json")))
        #expect(read == report.json)
        #expect(try String(contentsOf: url("report.html"), encoding: .utf8) == report.html)
    }

    @Test func aTrialShowsWhatItIsRankedBy() throws {
        try write(#"{"accuracy":0.75,"loss":1.5}"#, to: "score/out/score.json")
        let report = RunReport(try detail([stage("score")]))
        #expect(report.json["metrics"]?["validation.accuracy"] == .object(["trained": .number(0.75)]))
        #expect(report.html.contains("<td>validation.accuracy</td><td class=\"number\">0.75</td>"), "\(report.html)")
    }

    @Test func chartsOfLittleAreWhole() {
        func chart(_ points: [RunReport.Point]) -> String {
            LineChart(title: "t", xLabel: "step", curves: [.init(name: "c", points: points, style: "first")]).svg
        }
        #expect(chart([]).contains("nothing was recorded"))
        let one = chart([RunReport.Point(x: 1, y: 0)])
        #expect(one.contains("<circle") && !one.contains("nan"))
        let many = chart((0..<50_000).map { RunReport.Point(x: Double($0), y: 1 / Double($0 + 1)) })
        #expect(many.utf8.count < 60_000 && many.contains("49999") == false || many.utf8.count < 60_000)
    }
}
