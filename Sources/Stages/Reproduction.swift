import Artifacts
package import Foundation
package import PipelineSpec
import TensorCore

/// A version made again from its own record: the manifest, the pinned inputs, the seed and the threads.
///
/// Each stage of the record runs once more, in its order, and its output is compared with the digest that was recorded.
/// What a stage reads of another has the recorded digest, so that the first difference is that of the stage itself.
package struct Reproduction {
    /// One stage, made again.
    package struct Outcome: Sendable, Equatable {
        package let kind: String
        package let recorded: String
        package let computed: String
        package var isEqual: Bool { recorded == computed }
    }

    /// An input that cannot be read as it was.
    package struct Loss: Sendable, Equatable {
        package let path: String
        /// In words: gone, shorter, or of another content.
        package let what: String
    }

    /// What the record says about where it was made, and is otherwise here: bytes may then differ without a fault.
    package let circumstances: [String]
    /// The kinds of stage that will run, in order.
    package let kinds: [String]
    private let lineage: VersionRecord.Lineage
    /// What the version was to be compared with, where nothing was there yet.
    private let alias: String?
    /// The step at which a budget ended the training; `nil` when it was whole.
    private let lastStep: Int?
    private let reference: String
    private let workspace: URL

    /// Reads the record of a version.
    ///
    /// - Parameter reference: how the version is named, for messages.
    /// - Throws: ``StageError`` with code `no_lineage` for a version that no job of ours made.
    package init(of record: PipelineSpec.JSONValue, reference: String, workspace: URL) throws {
        if record["lineage"]?["imported"] != nil {
            throw StageError("no_lineage", "\(reference) was imported: what it was trained on is not known here")
        }
        /// What of a record is needed here, whatever else it says.
        struct Record: Decodable {
            struct Training: Decodable {
                var steps: Int?
                var plannedSteps: Int?
            }
            struct Evaluation: Decodable {
                var alias: String?
                var champion: Int?
            }
            var lineage: VersionRecord.Lineage
            var evaluation: Evaluation?
            var training: Training?
        }
        let decoded: Record
        do {
            decoded = try JSONDecoder().decode(Record.self, from: record.data())
        } catch {
            throw StageError(
                "no_lineage", "the record of \(reference) does not say all that it was made from (\(error))")
        }
        lineage = decoded.lineage
        alias = decoded.evaluation?.alias
        lastStep = decoded.training?.plannedSteps == nil ? nil : decoded.training?.steps
        // Who was in production then is no part of what the version is made from, and may be gone.
        let champion = decoded.evaluation?.champion
        self.reference = reference
        self.workspace = workspace
        let recorded = lineage.stages
        kinds = StageRegistry.stages.map { $0.descriptor }.filter {
            recorded[$0.kind] != nil && (champion == nil || !$0.comparesVersions)
        }.map(\.kind)
        var circumstances: [String] = []
        if let champion, kinds.count < recorded.count {
            circumstances.append("it was judged beside version \(champion), which is not done again")
        }
        if lineage.numerics_version != Numerics.version {
            circumstances.append(
                "it was made with numerics version \(lineage.numerics_version), and this program has \(Numerics.version)"
            )
        }
        if lineage.engine != EngineDescription.text {
            circumstances.append("it was computed with \(lineage.engine), and this is \(EngineDescription.text)")
        }
        self.circumstances = circumstances
    }

    /// What of the inputs is not there any more, or not as it was; reads all of them.
    package func losses() throws -> [Loss] {
        var seen: Set<String> = []
        let suites = kinds.contains("evaluate") ? lineage.suites ?? [:] : [:]
        let all =
            lineage.base + lineage.tokenizer + lineage.data.sorted { $0.key < $1.key }.flatMap(\.value)
            + suites.sorted { $0.key < $1.key }.flatMap(\.value)
        return try all.filter { seen.insert($0.path).inserted }.compactMap { file in
            guard FileManager.default.isReadableFile(atPath: file.path) else {
                return Loss(path: file.path, what: "is gone, or not readable")
            }
            do {
                let digest = try Digest.sha256(of: URL(filePath: file.path), length: file.length)
                return digest == file.digest ? nil : Loss(path: file.path, what: "has another content than it had then")
            } catch let error as ArtifactError where error.code == .inputsChanged {
                return Loss(path: file.path, what: "is shorter than it was then")
            }
        }
    }

    /// Runs the stages again below `folder`.
    ///
    /// - Parameters:
    ///   - start: runs `lorajobs stage` on a run directory and waits; returns the exit code.
    ///   - onStage: told each outcome as it is known.
    /// - Returns: one outcome a stage.
    /// - Throws: ``StageError`` with the failure of a stage that did not end well.
    package func run(
        in folder: URL, start: (RunDirectory) throws -> Int32, onStage: (Outcome) -> Void = { _ in }
    ) throws -> [Outcome] {
        var outputs: [String: String] = [:]
        var outcomes: [Outcome] = []
        let job = ULID().description
        for stage in StageRegistry.stages {
            let descriptor = stage.descriptor
            guard kinds.contains(descriptor.kind), let recorded = lineage.stages[descriptor.kind] else { continue }
            let directory = RunDirectory(
                folder.appending(path: "\(descriptor.kind).1", directoryHint: .isDirectory).absoluteURL)
            try directory.make()
            let needed = lineage.stages.filter { outputs[$0.key] != nil && isNeeded($0.key, by: descriptor) }
            var request = StageRequest(
                job: job, name: lineage.manifest.name, stage: descriptor.kind, uses: descriptor.kind, attempt: 1,
                attemptID: "\(job)-\(descriptor.kind)", workspace: workspace.path, manifest: lineage.manifest,
                inputs: outputs.filter { needed[$0.key] != nil },
                data: descriptor.inputs.contains(.data) ? lineage.data : [:], base: files(for: descriptor.inputs),
                inputDigests: needed, cacheKey: "", manifestDigest: lineage.manifest_digest, resumeFrom: nil,
                threads: lineage.threads)
            request.parent = lineage.parent
            if descriptor.endsEarly { request.limit = lastStep.map { StageLimit(step: $0) } }
            if descriptor.inputs.contains(.suites) { request.suites = lineage.suites }
            if descriptor.comparesVersions {
                request.rivals = alias.map { PinnedRivals(alias: $0, champion: nil, promoted: []) }
            }
            try directory.write(request)
            let code = try start(directory)
            guard code == WorkerExit.done.rawValue else {
                let failure = try directory.readResult()?.failure
                throw StageError(
                    failure?.code ?? "stage_failed",
                    "the \(descriptor.kind) stage of \(reference) did not run again: "
                        + (failure?.message ?? "it ended with the code \(code); see \(directory.log.path)"))
            }
            outputs[descriptor.kind] = directory.out.path
            let outcome = Outcome(
                kind: descriptor.kind, recorded: recorded, computed: try Digest.directoryDigest(directory.out))
            outcomes.append(outcome)
            onStage(outcome)
        }
        return outcomes
    }

    /// The digest of the adapter's tensors that ``run(in:start:onStage:)`` left; `nil` for a version without.
    package func adapterDigest(in folder: URL) throws -> String? {
        let file = folder.appending(path: "train.1/out/\(TrainedProduct.adapterFolder)/adapter_model.safetensors")
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return try Digest.sha256(of: file)
    }

    /// The output of an earlier stage is given to those that say so, directly or by way of others.
    private func isNeeded(_ kind: String, by descriptor: StageDescriptor) -> Bool {
        descriptor.requires.contains { required in
            required == kind || StageRegistry.descriptors[required].map { isNeeded(kind, by: $0) } ?? false
        }
    }

    /// The base's files as the stage was given them: `config.json` belongs to the weights and to the tokenizer.
    private func files(for inputs: Set<StageDescriptor.Input>) -> [PinnedFile] {
        let weights = lineage.base.filter { file in
            !lineage.tokenizer.contains(file) || file.path.hasSuffix("/config.json")
        }
        switch (inputs.contains(.base), inputs.contains(.tokenizer)) {
        case (true, true): return lineage.base
        case (true, false): return weights
        case (false, true): return lineage.tokenizer
        case (false, false): return []
        }
    }
}
