import Foundation
import Layers
import Models
import PipelineSpec
import TensorCore
import TestSupport
import Testing

@testable import Stages

/// Jobs on images, from files to a version.
@Suite(.serialized) struct ImageLineTests {
    private let folder: TemporaryFolder
    private let base: URL

    /// A small random ViT: 8 by 8 pixels in patches of 4.
    init() throws {
        folder = try TemporaryFolder()
        base = folder.url.appending(path: "base")
        try FileManager.default.copyItem(at: Fixtures.folder("golden/vit"), to: base)
        let preprocessing = #"{"size": {"height": 8, "width": 8}, "resample": 2, "image_mean": 0.5, "image_std": 0.5}"#
        try Data(preprocessing.utf8).write(to: base.appending(path: "preprocessor_config.json"))
    }

    /// An image of 10 by 12 pixels, bright at the top or at the bottom.
    private func write(_ index: Int, isTop: Bool, to file: URL) throws {
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        let png = PNGFile.data(width: 10, height: 12) { x, y in
            let noise = UInt8((x * 37 + y * 91 + index * 53) % 60)
            return (y < 6) == isTop ? (200 + noise / 2, 190, 180) : (noise, 20, 30)
        }
        try png.write(to: file)
    }

    private func manifest(_ files: [URL]) -> JobManifest {
        var manifest = JobManifest(name: "pictures", base: .folder(base.path))
        manifest.data.train = files.map(\.path)
        manifest.data.test = .fraction(0.2)
        manifest.data.labels = ["bottom", "top", "elsewhere"]
        manifest.train.duration = .epochs(12)
        manifest.train.batchSize = 16
        manifest.train.learningRate = 1e-2
        manifest.merge = JobManifest.Merge()
        return manifest
    }

    private func report(_ directory: RunDirectory) throws -> TokenizeStage.Report {
        try JSONDecoder().decode(
            TokenizeStage.Report.self, from: Data(contentsOf: directory.out.appending(path: "report.json")))
    }

    /// transformers renamed the maps of ViT in version 5; an adapter may have either names, chosen by names of targets in them.
    @Test(arguments: [
        (JobManifest.ModuleNames.transformers4, ["query", "value"]), (.transformers5, ["q_proj", "v_proj"]),
    ])
    func targetsAreNamedInTheAdaptersDialect(names: JobManifest.ModuleNames, targets: [String]) throws {
        let files = try (0..<20).map { index in
            let file = folder.url.appending(path: "\(names)/\(index % 2 == 0 ? "top" : "bottom")/\(index).png")
            try write(index, isTop: index % 2 == 0, to: file)
            return file
        }
        var manifest = manifest(files)
        manifest.adapter.names = names
        (manifest.adapter.targets, manifest.adapter.rank) = (.suffixes(targets), 4)
        manifest.train.duration = .steps(2)
        let line = try StageLine(manifest)
        #expect(try line.run("tokenize").result.failure == nil)
        let trained = try line.run("train")
        #expect(trained.result.failure == nil)
        #expect(try MemoryEstimate(of: manifest).trainedParameters == 2 * 2 * 4 * (16 + 16) + 3 * (16 + 1))
    }

    @Test func aFolderForEachClassIsLearnedJudgedMergedAndPackaged() throws {
        var files: [URL] = []
        for index in 0..<80 {
            let file = folder.url.appending(path: "data/\(index % 2 == 0 ? "top" : "bottom")/\(index).png")
            try write(index, isTop: index % 2 == 0, to: file)
            files.append(file)
        }
        let line = try StageLine(manifest(files))
        let tokenized = try line.run("tokenize")
        #expect(tokenized.result.failure == nil)
        let report = try report(tokenized.directory)
        #expect(report.task == .imageClassification && report.classes == ["bottom", "top", "elsewhere"])
        #expect(report.reading.formats.count == 1 && report.reading.formats.keys.first?.hasSuffix("/data") == true)
        #expect(report.reading.records == 80 && report.longest == 5, "four patches and the class token")
        let train = try #require(report.splits["train"])
        #expect(train.targets == train.sequences && train.tokens == 5 * train.sequences)

        let trained = try line.run("train")
        #expect(trained.result.failure == nil)
        let evaluated = try line.run("evaluate").result
        #expect(evaluated.failure == nil)
        #expect(try #require(evaluated.metrics["accuracy"]) > 0.9)
        #expect(try #require(evaluated.metrics["base_accuracy"]) < 0.9, "the base has a head, and knows nothing")
        #expect(try line.run("merge").result.failure == nil)
        let packaged = try line.run("package")
        #expect(packaged.result.failure == nil)
        let adapter = packaged.directory.out.appending(path: "adapter")
        let settings = try JSONValue(Data(contentsOf: adapter.appending(path: "adapter_config.json")), file: "")
        #expect(settings["modules_to_save"] == .array([.string("classifier")]) && settings["task_type"] == .null)
        let names = try SafetensorsFile(adapter.appending(path: "adapter_model.safetensors")).names
        #expect(names.contains("base_model.model.classifier.weight"))
        #expect(names.contains("base_model.model.vit.layers.0.attention.q_proj.lora_A.weight"))
        let card = try String(contentsOf: adapter.appending(path: "README.md"), encoding: .utf8)
        #expect(card.contains("image-classification") && card.contains("AutoModelForImageClassification"))
        let whole = try ModelRegistry.load(folder: packaged.directory.out.appending(path: "model"), for: nil)
        #expect(whole.task == .imageClassification(labels: 3))
    }

    @Test func aListNamesImagesThatAreOfTheJobToo() throws {
        var lines = "file_name,label\n"
        var files: [URL] = []
        for index in 0..<20 {
            let file = folder.url.appending(path: "list/images/\(index).png")
            try write(index, isTop: index % 2 == 0, to: file)
            files.append(file)
            lines += "images/\(index).png,\(index % 2 == 0 ? "top" : "bottom")\n"
        }
        let list = folder.url.appending(path: "list/labels.csv")
        try Data(lines.utf8).write(to: list)
        let alone = try StageLine(manifest([list])).run("tokenize").result.failure
        #expect(alone?.code == "bad_record" && alone?.message.contains("is not among the files of the job") == true)

        var manifest = manifest([list] + files)
        manifest.data.labels = []
        manifest.data.test = .fraction(0)
        manifest.data.validation = .fraction(0)
        let line = try StageLine(manifest)
        let first = try line.run("tokenize")
        #expect(first.result.failure == nil)
        let found = try report(first.directory)
        // The base's names are LABEL_0 and so on, which are not these.
        #expect(found.classes == ["bottom", "top"] && found.reading.records == 20)

        // An image that has changed is read again, and nothing else.
        try write(100, isTop: true, to: files[4])
        let second = try line.run("tokenize", previous: first.directory.out)
        #expect(second.result.metrics["reused_records"] == 19)
        func bytes(_ directory: RunDirectory) throws -> Data {
            try Data(contentsOf: directory.out.appending(path: "train.tokens"))
        }
        #expect(try bytes(first.directory) != bytes(second.directory))
        #expect(try bytes(line.run("tokenize").directory) == bytes(second.directory))

        try Data("no image".utf8).write(to: files[7])
        let broken = try line.run("tokenize").result.failure
        #expect(broken?.code == "bad_record" && broken?.message.contains("labels.csv:9") == true, "\(broken as Any)")
    }

    /// Digits on the base that was trained on them: its own head is trained on.
    @Test func handwrittenDigits() throws {
        guard let base = try TestData.folder("models/vit-mnist-trained-here"),
            let digits = try TestData.folder("datasets/mnist")
        else { return }
        let names = ["images-idx3", "labels-idx1"].map { digits.appending(path: "test-1000-\($0)-ubyte.gz").path }
        var manifest = JobManifest(name: "digits", base: .folder(base.path))
        manifest.data.train = [names[0]]
        manifest.data.test = .fraction(0.2)
        manifest.train.duration = .steps(3)
        let alone = try StageLine(manifest).run("tokenize").result.failure
        #expect(alone?.message.contains("test-1000-labels-idx1-ubyte.gz, are not among") == true, "\(alone as Any)")
        manifest.data.train = names
        let line = try StageLine(manifest)
        let tokenized = try line.run("tokenize")
        #expect(tokenized.result.failure == nil)
        let found = try report(tokenized.directory)
        #expect(found.classes == (0..<10).map { "\($0)" } && found.reading.records == 1000 && found.longest == 17)
        let trained = try line.run("train")
        #expect(trained.result.failure == nil)
        let training = try JSONDecoder().decode(
            TrainStage.Report.self, from: Data(contentsOf: trained.directory.out.appending(path: "training.json")))
        // 4096 tokens are 240 images of 17.
        #expect(training.trainedTokens == 3 * 240 * 17)
        let evaluated = try line.run("evaluate").result
        #expect(try #require(evaluated.metrics["base_accuracy"]) > 0.9)
        #expect(try #require(evaluated.metrics["accuracy"]) > 0.9)
    }

    @Test func textIsNotForEyes() throws {
        let file = folder.url.appending(path: "a.jsonl")
        let lines = ["a", "b"].map { "{\"text\": \"\($0)\", \"label\": \"\($0)\"}\n" }
        try Data(lines.joined().utf8).write(to: file)
        var manifest = manifest([file])
        let failure = try StageLine(manifest).run("tokenize").result.failure
        #expect(failure?.code == "unsupported" && failure?.message.contains("image-classification") == true)
        manifest.task = .maskedLM
        let other = try StageLine(manifest).run("tokenize").result.failure
        #expect(
            other?.code == "unsupported" && other?.message.contains("masked-lm is not for a base such as vit") == true)
    }
}
