import Foundation
import Models
import PipelineSpec
import Training

/// Turns the job's text or images into sequences, once, so that training, evaluation and merge read the same numbers.
///
/// Output: `train.tokens`, `validation.tokens`, `test.tokens`, `report.json`, and `records.index`, by which the next run finds
/// what has not changed. Each example ends with the tokenizer's end token. Running text is cut into consecutive blocks of
/// `data.max_length`; an example that is longer is dropped, truncated or an error, as `data.overlength` says.
enum TokenizeStage: Stage {
    static let descriptor = StageDescriptor(
        kind: "tokenize", version: 5,
        manifestKeys: [
            "task", "data.sample", "data.validation", "data.test", "data.format", "data.columns", "data.train_on",
            "data.chat_template",
            "data.labels", "data.max_length", "data.overlength", "data.max_bad_records",
            "data.health",
        ],
        inputs: [.data, .tokenizer], requires: [])

    static func run(_ run: StageRun) throws {
        var work = try TokenizeRun(
            manifest: run.manifest, data: run.request.data, tokenizerFiles: run.request.base,
            threads: run.request.threads)
        work.previous = run.request.previous.map { URL(filePath: $0, directoryHint: .isDirectory) }
        run.report(0, "reading the data")
        var lastReport = 0.0
        func note(_ done: Double) throws {
            if run.isStopRequested { throw StageError.stopped }
            guard done - lastReport > 0.02 || done < lastReport else { return }
            lastReport = done
            run.report(ProgressEvent(time: Date().timeIntervalSince1970, fraction: min(0.95, done)))
        }
        let outcome = try work.write(to: run.output, progress: note)
        let report = outcome.report
        guard (report.splits["train"]?.targets ?? 0) > 0 else {
            throw StageError(
                "no_data",
                "the training split has nothing to learn: \(report.reading.records) records read, \(report.dropped) dropped "
                    + "(\(report.reasons["overlength"] ?? 0) longer than \(report.maxLength) tokens), "
                    + "\(report.reading.badCount) bad")
        }
        try run.write(report, to: "report.json")
        try judge(report.health ?? DataHealth(), run)
        for (name, split) in report.splits {
            run.metrics["\(name)_tokens"] = Double(split.tokens)
            run.metrics["\(name)_sequences"] = Double(split.sequences)
        }
        // The steps depend on what the output does not, so they stand beside it.
        let training = try TokenDataset(run.output.appending(path: SplitName.train.tokensFile))
        let steps = try StepForecast(training, run.manifest, work.task)
        run.metrics["steps_per_epoch"] = Double(steps.stepsPerEpoch)
        run.metrics["planned_steps"] = Double(steps.steps)
        run.metrics["micro_batch_fill"] = steps.fill
        run.metrics["reused_records"] = Double(outcome.reused)
        if let why = outcome.whyNone { run.log("the earlier output is not used: \(why)") }
        if outcome.reused > 0 { run.log("\(outcome.reused) records are as they were; their sequences are taken over") }
        let train = report.splits["train"] ?? .init()
        run.report(
            1,
            "\(report.reading.records) records; \(train.tokens) training tokens in \(train.sequences) sequences, "
                + "\(steps.steps) steps")
    }

    /// Says how the data are, and ends the job when they are not as the manifest wants them.
    private static func judge(_ health: DataHealth, _ run: StageRun) throws {
        let drift = DataDrift(health, from: run.request.rivals?.champion)
        for line in health.lines(drift) { run.log(line) }
        run.metrics["duplicates"] = health.duplicates
        run.metrics["near_duplicates"] = health.nearDuplicates.share
        for (split, share) in health.overlap { run.metrics["\(split)_overlap"] = share }
        run.metrics["personal"] = Double(health.personal.total)
        run.metrics["length_drift"] = drift?.length
        run.metrics["label_drift"] = drift?.labels
        try health.check(run.manifest.data.health, drift)
    }

    /// The classes that a head is made for: those of the data or, where the base has a head for such a choice that knows
    /// all of them, the base's, so that its head is trained on.
    ///
    /// - Parameters:
    ///   - names: what the data or the manifest names.
    ///   - isGiven: whether the manifest does.
    /// - Throws: ``StageError`` when there is nothing to choose between.
    static func classes(
        _ names: [String]?, isGiven: Bool, for task: JobManifest.Task, base folder: URL
    ) throws -> [String] {
        let configuration = try ModelConfiguration(folder: folder)
        if !isGiven, let names, let own = try configuration.labels(), own.count > 1 {
            let known = ClassNames(own), kind = JobTask(kind: task, classes: own)
            let isKnown = names.allSatisfy { name in
                let label = Int(name).map { ClassLabel.index($0) } ?? .name(name)
                return (try? known.resolve(label)) != nil
            }
            if isKnown, try kind.isTask(ofBase: folder) { return own }
        }
        guard let names, names.count > 1 else {
            let formats = RecordFormats.all.filter { task.formats.contains($0.name) }.map { $0.shape }
            throw StageError(
                "no_classes",
                "\(folder.path) is to learn \(task.rawValue), and the data names \(names?.count ?? 0) class(es); it takes at "
                    + "least two: give \(formats.joined(separator: "; ")), or list data.labels")
        }
        return names
    }
}
