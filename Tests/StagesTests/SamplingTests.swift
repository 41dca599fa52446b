import Foundation
import PipelineSpec
import TestSupport
import Testing
import Training

@testable import Stages

@Suite struct SamplingTests {
    private func records(_ range: Range<Int>) -> String {
        range.map {
            #"{"prompt": "What is number \#($0)?", "completion": " It is \#($0 * 7919 % 10007), as ever."}"# + "\n"
        }.joined()
    }

    private func manifest(_ base: URL, _ data: URL, sample: Double?) -> JobManifest {
        var manifest = JobManifest(name: "sample", base: .folder(base.path))
        manifest.data.train = [data.path]
        manifest.data.maxLength = 64
        manifest.data.validation = .fraction(0.2)
        manifest.data.sample = sample
        return manifest
    }

    /// The sequences of a split, and the metrics.
    private func tokenize(_ manifest: JobManifest, previous: URL? = nil) throws
        -> (sequences: [SplitName: [[Int32]]], metrics: [String: Double], folder: URL, line: StageLine)
    {
        let line = try StageLine(manifest)
        let (result, directory) = try line.run("tokenize", previous: previous)
        #expect(result.failure == nil, "\(result)")
        var found: [SplitName: [[Int32]]] = [:]
        for split in SplitName.allCases {
            let dataset = try TokenDataset(directory.out.appending(path: split.tokensFile))
            found[split] = (0..<dataset.count).map { Array(dataset[$0].ids) }
        }
        return (found, result.metrics, directory.out, line)
    }

    @Test func aSampleIsPartOfTheTrainingDataAndGrowsWithThem() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data.jsonl")
        try Data(records(0..<400).utf8).write(to: data)
        let whole = try tokenize(manifest(base, data, sample: nil))
        let tenth = try tokenize(manifest(base, data, sample: 0.1))
        let half = try tokenize(manifest(base, data, sample: 0.5))
        let all = try #require(whole.sequences[.train])
        let sampled = try #require(tenth.sequences[.train])
        // 0.1 of some 300, and three standard deviations on either side.
        #expect(all.count > 250 && (14...48).contains(sampled.count), "\(sampled.count) of \(all.count)")
        #expect(Set(sampled).isSubset(of: Set(half.sequences[.train] ?? [])), "a larger sample holds the smaller one")
        #expect(Set(half.sequences[.train] ?? []).isSubset(of: Set(all)))
        // What measures is the same for all.
        for split in [SplitName.validation, .test] {
            #expect(whole.sequences[split]?.isEmpty == false)
            #expect(tenth.sequences[split] == whole.sequences[split])
        }
        let report = try JSONDecoder().decode(
            TokenizeStage.Report.self, from: Data(contentsOf: tenth.folder.appending(path: "report.json")))
        #expect(report.leftOut == all.count - sampled.count && report.reading.records == 400)

        // More data, and in another order: what was in it stays in it, what was left out stays out.
        try Data((records(400..<800) + records(0..<400)).utf8).write(to: data)
        let grown = try tokenize(manifest(base, data, sample: 0.1))
        #expect(Set(sampled).isSubset(of: Set(grown.sequences[.train] ?? [])))
        #expect(Set(grown.sequences[.train] ?? []).intersection(Set(all)) == Set(sampled))
    }

    @Test func whatAnotherSampleMadeIsTakenOverAsFarAsItGoes() throws {
        guard let base = try TestData.folder("models/stories260K") else { return }
        let folder = try TemporaryFolder()
        let data = folder.url.appending(path: "data.jsonl")
        try Data(records(0..<300).utf8).write(to: data)
        let tenth = try tokenize(manifest(base, data, sample: 0.1))
        let whole = try tokenize(manifest(base, data, sample: nil))
        let fromTenth = try tokenize(manifest(base, data, sample: nil), previous: tenth.folder)
        #expect(fromTenth.sequences == whole.sequences)
        let reused = try #require(fromTenth.metrics["reused_records"])
        #expect(reused > 0 && reused < 300, "what was left out was never encoded")
        let fromWhole = try tokenize(manifest(base, data, sample: 0.1), previous: whole.folder)
        #expect(fromWhole.sequences == tenth.sequences)
        #expect(fromWhole.metrics["reused_records"] == reused)
    }
}
