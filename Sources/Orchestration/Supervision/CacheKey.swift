import Artifacts
import Foundation
import PipelineSpec

/// What a stage's output depends on, as one digest. Two runs with the same key make the same output.
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
        var manifest: [String: PipelineSpec.JSONValue]
        var data: [String: [Content]]
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
            manifest: try values(of: descriptor.manifestKeys, in: withoutPaths(manifest, inputs)),
            data: inputs.contains(.data)
                ? pins.data.mapValues { $0.map { Content(length: $0.length, digest: $0.digest) } } : [:],
            base: inputs.contains(.base) ? named(pins.base) : [],
            tokenizer: inputs.contains(.tokenizer) ? named(pins.tokenizer) : [], outputs: outputs)
        return Digest.sha256(try ProtocolJSON.encode(ingredients))
    }

    /// Whether a value of the manifest, named as in `when: job.merge`, is there and neither false nor empty.
    static func isTrue(_ condition: String, in manifest: JobManifest) throws -> Bool {
        let key = condition.hasPrefix("job.") ? String(condition.dropFirst(4)) : condition
        return try value(key, in: json(manifest))?.isTruthy ?? false
    }

    /// The paths of what is pinned: the content counts, not where it lies.
    private static func withoutPaths(
        _ manifest: JobManifest, _ inputs: Set<StageDescriptor.Input>
    ) -> JobManifest {
        var manifest = manifest
        if inputs.contains(.data) {
            manifest.data.train = []
            if case .files = manifest.data.validation { manifest.data.validation = .files([]) }
            if case .files = manifest.data.test { manifest.data.test = .files([]) }
        }
        if inputs.contains(.base) || inputs.contains(.tokenizer) {
            switch manifest.base {
            case .folder: manifest.base = .folder("")
            case .random: manifest.base = .random(config: "")
            }
        }
        return manifest
    }

    private static func json(_ manifest: JobManifest) throws -> PipelineSpec.JSONValue {
        try ProtocolJSON.decode(PipelineSpec.JSONValue.self, from: try ProtocolJSON.encode(manifest))
    }

    private static func values(
        of keys: [String], in manifest: JobManifest
    ) throws -> [String: PipelineSpec.JSONValue] {
        let all = try json(manifest)
        var found: [String: PipelineSpec.JSONValue] = [:]
        for key in keys {
            // A key that has no value of its own in the resolved form counts with all that surrounds it: rather run
            // once too often than take an output that is not meant.
            var name = key[...]
            while true {
                if let value = try value(String(name), in: all) {
                    found[key] = value
                    break
                }
                guard let dot = name.lastIndex(of: ".") else { break }
                name = name[..<dot]
            }
        }
        return found
    }

    private static func value(
        _ path: String, in root: PipelineSpec.JSONValue
    ) throws -> PipelineSpec.JSONValue? {
        var current = root
        for part in path.split(separator: ".") {
            guard case .object(let members) = current else { return nil }
            guard let next = members[String(part)] ?? members[camelCase(part)] else { return nil }
            current = next
        }
        return current
    }

    private static func camelCase(_ word: Substring) -> String {
        let parts = word.split(separator: "_")
        return parts.enumerated().map { $0.offset == 0 ? String($0.element) : $0.element.capitalized }.joined()
    }
}
