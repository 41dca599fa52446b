import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Stages

/// How the data are, found out before anything is learned from them.
@Suite(.serialized) struct DataHealthTests {
    // MARK: Words and passages

    @Test func textsThatDifferInDressAreEqual() {
        func same(_ one: String, _ other: String) -> Bool { TextWords.hashes(of: one) == TextWords.hashes(of: other) }
        #expect(same("Hello, World!", "hello   world"))
        #expect(same("ÄRGER über\nStraße", "ärger\tÜBER «straße»"))
        #expect(!same("hello world", "helloworld") && !same("a b", "b a") && !same("1 2", "12"))
        #expect(TextWords.hashes(of: " ,.!— ").isEmpty)
        // Without spaces each sign is a word.
        #expect(TextWords.hashes(of: "你好世界").count == 4 && TextWords.hashes(of: "Привет мир").count == 2)
        #expect(TextWords.hash(of: [1, 2]) != TextWords.hash(of: [2, 1]))
    }

    @Test func passagesAreWhatStandsTogether() {
        func grams(_ text: String) -> [UInt64] { TextWords.grams(of: TextWords.hashes(of: text)) }
        let words = (1...40).map { "w\($0)" }
        let whole = grams(words.joined(separator: " "))
        #expect(whole.count == 28 && Set(whole).count == 28)
        // Wherever it stands, a passage has the same hash.
        let moved = grams((["x", "y"] + words).joined(separator: " "))
        #expect(moved.count == 30 && Array(moved.suffix(28)) == whole)
        #expect(grams(words.prefix(12).joined(separator: " ")).count == 8)
        #expect(grams("a b c d").count == 2 && grams("a b").count == 1 && grams("a").count == 1 && grams("").isEmpty)
        #expect(grams("a b")[0] != grams("a b c")[0])
    }

    @Test func personalDataAreFound() {
        func counts(_ text: String) -> [Int] {
            let found = PersonalData(in: text)
            return [found.mailAddresses, found.phoneNumbers, found.cardNumbers]
        }
        for text in ["mail ann.b+c@example.co.uk now", "<a_b@x-y.org>", "a%b@1.de.", "to:a@b.cd;"] {
            #expect(counts(text) == [1, 0, 0], "\(text)")
        }
        for text in ["a@b", "@home", "x @ y.de", "a@b.c", "a@.de", "a@b.12", "user@localhost and"] {
            #expect(counts(text) == [0, 0, 0], "\(text)")
        }
        let phones = [
            "+49 171 1234567", "call +1 (555) 010-4477.", "(555) 010-4477", "555-010-4477", "030 1234567",
            "0171/123 45 67", "tel:+491711234567",
        ]
        for text in phones { #expect(counts(text) == [0, 1, 0], "\(text)") }
        let numbers = [
            "2026-11-21 14:03", "1234567890", "3.14159265358979", "12 345 678", "+5", "(12)", "0.123 456 789 01",
            "v1-555-010-4477",
            "192.168.100.200", "01-02-2026 12:30", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10", "a030 1234567", "+0 123 456 789",
        ]
        for text in numbers { #expect(counts(text) == [0, 0, 0], "\(text)") }
        // Numbers that the schemes publish for tests.
        for text in ["4111 1111 1111 1111", "5500-0000-0000-0004", "card 378282246310005!", "6011111111111117"] {
            #expect(counts(text) == [0, 0, 1], "\(text)")
        }
        for text in ["4111 1111 1111 1112", "4444444444444444444444", "4111-1111 1111-1111", "id4111111111111111"] {
            #expect(counts(text)[2] == 0, "\(text)")
        }
        #expect(counts("a@b.de 030 1234567, 4111111111111111; c@d.org") == [2, 1, 1])
    }

    // MARK: Sketches

    private func passages(_ number: Int, _ count: Int = 50) -> [UInt64] {
        var generator = SplitMix(state: UInt64(number) << 20)
        return (0..<count).map { _ in generator.next() }
    }

    private struct SplitMix {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
    }

    @Test func boundedMemoryChangesSharesLittle() {
        var exact = GramSketch(), bounded = GramSketch(capacity: 20_000)
        for number in 0..<4000 {
            // Every fifth is an earlier one with a passage of it written anew, which is nearly the same.
            var grams = passages(number % 5 == 4 ? number - 2 : number)
            if number % 5 == 4 { grams.replaceSubrange(0..<1, with: passages(100_000 + number, 1)) }
            // Every fourth question is most of an earlier one.
            var question = passages(200_000 + number)
            if number % 4 == 3 { question.replaceSubrange(0..<48, with: passages(number - number % 5).prefix(48)) }
            exact.insert(grams, at: UInt64(number), in: .train)
            bounded.insert(grams, at: UInt64(number), in: .train)
            guard number % 10 < 4 else { continue }
            exact.insert(question, at: UInt64(number), in: .test)
            bounded.insert(question, at: UInt64(number), in: .test)
        }
        #expect(exact.near == DataHealth.Tally(judged: 4000, found: 800) && exact.sampledOneIn == 1)
        #expect(exact.firstNear == 4)
        let truth = exact.overlaps()[.test], estimate = bounded.overlaps()[.test]
        #expect(truth?.tally.judged == 1600 && truth?.first == 3)
        let asked = Double(truth?.tally.found ?? 0) / 1600
        #expect(asked == 0.25)
        #expect(bounded.sampledOneIn >= 8)
        #expect(abs(bounded.near.share - 0.2) < 0.04, "\(bounded.near)")
        #expect(abs((estimate?.tally.share ?? 0) - asked) < 0.08, "\(String(describing: estimate))")
    }

    @Test func labelDriftIsHalfTheSumOfDifferences() {
        #expect(DataDrift.distance(["a": 50, "b": 50], ["a": 5, "b": 5]) == 0)
        #expect(DataDrift.distance(["a": 3, "b": 1], ["a": 1, "b": 1]) == 0.25)
        #expect(DataDrift.distance(["a": 3], ["b": 9]) == 1)
        #expect(DataDrift.distance([:], ["b": 9]) == nil)
    }

    // MARK: The stage

    private let names = ["Tom", "Lily", "Max", "Anna", "Ben", "Mia", "Sam", "Zoe"]
    private let things = [
        "a red ball", "the old dog", "some warm bread", "a big tree", "his new boat", "the quiet moon",
    ]
    private let verbs = ["found", "wanted", "painted", "lost", "carried", "drew", "hid"]

    /// A text of thirty and some words that no other number has.
    private func story(_ number: Int) -> String {
        (0..<6).map { step in
            let mixed = number &* 7919 &+ step &* (104_729 &+ number)
            let (name, verb) = (names[abs(mixed) % 8], verbs[abs(mixed / 8) % 7])
            return "\(name) \(verb) \(things[abs(mixed / 56) % 6]) on day \(number * 6 + step)."
        }.joined(separator: " ")
    }

    private func line(_ text: String, label: String? = nil) -> String {
        let label = label.map { ", \"label\": \"\($0)\"" } ?? ""
        return "{\"text\": \"\(text)\"\(label)}\n"
    }

    private struct Trial {
        let line: StageLine
        let train: URL
        let folder: TemporaryFolder

        func report(_ run: RunDirectory) throws -> TokenizeStage.Report {
            try JSONDecoder().decode(
                TokenizeStage.Report.self, from: Data(contentsOf: run.out.appending(path: "report.json")))
        }
    }

    private func trial(
        _ train: String, test: String? = nil, _ rules: (inout JobManifest.Health) -> Void = { _ in }
    ) throws -> Trial? {
        guard let base = try TestData.folder("models/stories260K") else { return nil }
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "train.jsonl")
        try Data(train.utf8).write(to: file)
        var manifest = JobManifest(name: "health", base: .folder(base.path))
        manifest.task = .causalLM
        manifest.data.train = [file.path]
        manifest.data.validation = .fraction(0)
        manifest.data.test = .fraction(0)
        if let test {
            let file = folder.url.appending(path: "test.jsonl")
            try Data(test.utf8).write(to: file)
            manifest.data.test = .files([file.path])
        }
        rules(&manifest.data.health)
        return Trial(line: try StageLine(manifest), train: file, folder: folder)
    }

    @Test func aHealthyNightGoesThroughAndIsReported() throws {
        let stories = (0..<40).map { line(story($0)) }.joined()
        let trial = try trial(stories, test: (100..<110).map { line(story($0)) }.joined()) { rules in
            (rules.maxDuplicates, rules.maxNearDuplicates, rules.maxOverlap) = (0, 0, 0)
            (rules.maxLengthDrift, rules.maxLabelDrift, rules.maxPersonal) = (0.1, 0.1, 0)
        }
        guard let trial else { return }
        let run = try trial.line.run("tokenize", threads: 1)
        #expect(run.result.failure == nil, "\(String(describing: run.result.failure))")
        let health = try #require(try trial.report(run.directory).health)
        #expect(health.nearDuplicates == DataHealth.Tally(judged: 40, found: 0) && health.overlap == ["test": 0])
        #expect(health.meanLength > 30 && health.first.isEmpty && health.personal.total == 0)
        #expect(run.result.metrics["length_drift"] == nil && run.result.metrics["near_duplicates"] == 0)
        // The same bytes whatever the threads, and when all is taken over.
        let bytes = try Data(contentsOf: run.directory.out.appending(path: "report.json"))
        for again in [
            try trial.line.run("tokenize", threads: 3),
            try trial.line.run("tokenize", previous: run.directory.out, threads: 2),
        ] {
            #expect(try Data(contentsOf: again.directory.out.appending(path: "report.json")) == bytes)
        }
        // What is allowed has no part in the output.
        trial.line.manifest.data.health = JobManifest.Health()
        let free = try trial.line.run("tokenize", previous: run.directory.out)
        #expect(try Data(contentsOf: free.directory.out.appending(path: "report.json")) == bytes)
        #expect(free.result.metrics["reused_records"] == 50)
    }

    /// Poisoned data of each kind, what is said of them, and the line that is named.
    @Test(arguments: ["max_duplicates", "max_near_duplicates", "max_overlap", "max_personal"])
    func aPoisonedNightIsStopped(_ rule: String) throws {
        var lines = (0..<30).map { line(story($0)) }
        var test = (100..<110).map { line(story($0)) }
        let secret = "SECRET"
        var place = ""
        switch rule {
        case "max_duplicates":
            lines[11] = line(secret + " " + story(4))
            lines[20] = line(secret.lowercased() + ",  " + story(4).uppercased())
            place = "train.jsonl:21"
        case "max_near_duplicates":
            lines[17] = line("\(story(4)) \(secret)")
            place = "train.jsonl:18"
        case "max_overlap":
            test[6] = line("\(secret) \(story(9))")
            place = "test.jsonl:7"
        default:
            lines[5] = line("write to \(secret)@example.org or 4111 1111 1111 1111")
            place = "train.jsonl:6"
        }
        let trial = try trial(lines.joined(), test: test.joined()) { rules in
            switch rule {
            case "max_duplicates": rules.maxDuplicates = 0.01
            case "max_near_duplicates": rules.maxNearDuplicates = 0.01
            case "max_overlap": rules.maxOverlap = 0
            default: rules.maxPersonal = 1
            }
        }
        guard let trial else { return }
        let (result, directory) = try trial.line.run("tokenize")
        #expect(result.exitCode == WorkerExit.invalidInput.rawValue)
        let failure = try #require(result.failure)
        #expect(failure.code == "unhealthy_data" && failure.message.hasPrefix("data.health.\(rule): "), "\(failure)")
        #expect(failure.message.contains(place) && failure.message.contains("allowed"), "\(failure.message)")
        #expect(!failure.message.lowercased().contains(secret.lowercased()), "\(failure.message)")
        let figure = ["max_duplicates": "3.3%", "max_near_duplicates": "3.3%", "max_overlap": "10.0%"][rule]
        #expect(
            failure.message.contains(figure ?? "1 mail addresses, 0 phone numbers and 1 card numbers"), "\(failure)")
        // The figures are there all the same.
        #expect(try trial.report(directory).health?.first["\(rule)"]?.hasSuffix(place) == true)
        // And it is enough to allow more.
        trial.line.manifest.data.health = JobManifest.Health()
        #expect(try trial.line.run("tokenize").result.failure == nil)
    }

    @Test func dataThatAreNotWhatProductionWasTrainedOnAreStopped() throws {
        let labelled = (0..<40).map { line(story($0), label: $0 % 2 == 0 ? "good" : "bad") }
        guard let trial = try trial(labelled.joined()) else { return }
        // A version as the store keeps it, of which only this is read.
        let folder = trial.folder.url.appending(path: "3")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let mean = try #require(try trial.report(trial.line.run("tokenize").directory).health?.meanLength)
        func produce(_ length: Double, _ labels: String) throws {
            let tokens = Int(length * 1000)
            try Data(
                "{\"data\": {\"train\": {\"sequences\": 1000, \"tokens\": \(tokens), \"targets\": 1}}, \"labels\": \(labels)}"
                    .utf8
            ).write(to: folder.appending(path: "lorajobs.json"))
        }
        trial.line.rivals = PinnedRivals(
            alias: "production", champion: PinnedVersion(number: 3, digest: "", path: folder.path), promoted: [])
        trial.line.manifest.data.health.maxLengthDrift = 0.2
        trial.line.manifest.data.health.maxLabelDrift = 0.2

        try produce(mean * 1.1, #"{"good": 60, "bad": 40}"#)
        let near = try trial.line.run("tokenize").result
        #expect(near.failure == nil, "\(String(describing: near.failure))")
        #expect(abs((near.metrics["length_drift"] ?? 0) - 0.0909) < 0.001)
        #expect(abs((near.metrics["label_drift"] ?? 0) - 0.1) < 1e-9)

        try produce(mean * 2, #"{"good": 95, "bad": 5}"#)
        let far = try trial.line.run("tokenize").result
        let message = far.failure?.message ?? ""
        #expect(far.failure?.code == "unhealthy_data" && far.exitCode == WorkerExit.invalidInput.rawValue)
        #expect(message.contains("max_length_drift") && message.contains("50.0% off version 3; 20%"), "\(message)")
        #expect(message.contains("max_label_drift") && message.contains("45.0% off version 3"), "\(message)")

        // A version that is older than this says nothing of its classes.
        try Data("{\"data\": {}}".utf8).write(to: folder.appending(path: "lorajobs.json"))
        #expect(try trial.line.run("tokenize").result.failure == nil)
    }
}
