import Artifacts
import Foundation
import PipelineSpec

/// What a stage's output depends on, as one digest.
///
/// Two runs with the same key make the same output.
enum CacheKey {
    private struct Content: Codable, Equatable {
        var length: Int64
        var digest: String
        /// The file's name where it matters: in a base folder, not among data files.
        var name: String?
    }

    private struct Ingredients: Encodable {
        var schema = 1
        var kind: String
        var stageVersion: Int
        var numericsVersion: Int
        var manifest: PipelineSpec.JSONValue
        var data: [String: [Content]]
        /// Absent where there is none, so that keys of stages without are what they were.
        var suites: [String: [Content]]?
        /// The digest of the version that training goes on from, where the manifest names that version. Production moves
        /// by itself, and what was trained from it on these data need not be trained again for that.
        var parent: String?
        /// What the best of the past is chosen by, where that is not what the evaluation itself looks at first. The rest of
        /// a gate is judged when the evaluation is there.
        var mark: String?
        var base: [Content]
        var tokenizer: [Content]
        /// Output digests of the needed stages, by kind.
        var outputs: [String: String]
    }

    /// The key of a stage.
    ///
    /// - Parameter outputs: Output digests, by kind, of the stages it needs.
    static func compute(
        _ descriptor: StageDescriptor, numericsVersion: Int, manifest: JobManifest, pins: InputPins,
        outputs: [String: String]
    ) throws -> String {
        func named(_ files: [PinnedFile]) -> [Content] {
            files.map {
                Content(length: $0.length, digest: $0.digest, name: URL(filePath: $0.path).lastPathComponent)
            }
        }
        let inputs = descriptor.inputs
        let ingredients = Ingredients(
            kind: descriptor.kind, stageVersion: descriptor.version, numericsVersion: numericsVersion,
            manifest: ManifestSchema.canonical(withoutPaths(manifest, inputs), keys: descriptor.manifestKeys),
            data: inputs.contains(.data)
                ? pins.data.mapValues { $0.map { Content(length: $0.length, digest: $0.digest) } } : [:],
            suites: inputs.contains(.suites)
                ? pins.suites?.mapValues { $0.map { Content(length: $0.length, digest: $0.digest) } } : nil,
            parent: descriptor.manifestKeys.contains("train") && isVersion(manifest.train.start)
                ? pins.parent?.digest : nil,
            mark: descriptor.comparesVersions ? mark(manifest) : nil,
            base: inputs.contains(.base) ? named(pins.base) : [],
            tokenizer: inputs.contains(.tokenizer) ? named(pins.tokenizer) : [], outputs: outputs)
        return Digest.sha256(try ProtocolJSON.encode(ingredients))
    }

    private static func mark(_ manifest: JobManifest) -> String? {
        guard let metric = manifest.gate?.metric else { return nil }
        let first = manifest.evaluate.metrics.first ?? JobManifest.Metric.always.first
        return metric == first ? nil : metric.rawValue
    }

    private static func isVersion(_ start: JobManifest.Start) -> Bool {
        if case .version = start { true } else { false }
    }

    /// The key of a stage that a job runs again whatever was made before.
    static func again(_ key: String, for job: String) -> String { Digest.sha256(Data("\(key) again for \(job)".utf8)) }

    /// The key of what a stage made that has ended before its work was done. What it did is part of it, and nobody who asks
    /// for the whole finds it.
    static func cut(_ key: String, _ cut: StageCut) -> String {
        Digest.sha256(Data("\(key) \(cut.text)".utf8))
    }

    /// Whether a value of the manifest, named as in `when: job.merge`, is there and neither false nor empty.
    static func isTrue(_ condition: String, in manifest: JobManifest) -> Bool {
        let key = condition.hasPrefix("job.") ? String(condition.dropFirst(4)) : condition
        return ManifestSchema.value(of: key, in: manifest)?.isTruthy ?? false
    }

    /// The paths of what is pinned: the content counts, not where it lies.
    private static func withoutPaths(
        _ manifest: JobManifest, _ inputs: Set<StageDescriptor.Input>
    ) -> JobManifest {
        var manifest = manifest
        if inputs.contains(.data) {
            manifest.data.train = []
            manifest.data.exclude = []
            if case .files = manifest.data.validation { manifest.data.validation = .files([]) }
            if case .files = manifest.data.test { manifest.data.test = .files([]) }
        }
        if inputs.contains(.suites) {
            manifest.evaluate.suites = manifest.evaluate.suites.mapValues { suite in
                var suite = suite
                suite.data = []
                return suite
            }
            manifest.evaluate.retention = []
        }
        if inputs.contains(.base) || inputs.contains(.tokenizer) {
            switch manifest.base {
            case .folder: manifest.base = .folder("")
            case .random: manifest.base = .random(config: "")
            }
        }
        return manifest
    }
}
