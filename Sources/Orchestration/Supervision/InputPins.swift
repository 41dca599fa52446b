import Artifacts
import Foundation
import Glibc
import PipelineSpec

/// Every file a job reads, as it was when the job began: later changes belong to later jobs.
struct InputPins: Codable, Sendable, Equatable {
    /// By split key of the manifest: `train`, `validation`, `test`.
    var data: [String: [PinnedFile]] = [:]
    /// By name of the suite; ``DataFiles/retention`` is the general text.
    var suites: [String: [PinnedFile]]?
    /// Weights and configuration of the base.
    var base: [PinnedFile] = []
    /// Its tokenizer files and configuration.
    var tokenizer: [PinnedFile] = []

    /// The version that training goes on from; `nil` for a new adapter.
    var parent: PinnedVersion?

    /// The version that a job's training goes on from.
    ///
    /// - Throws: `invalidInput` for a reference that leads nowhere.
    static func parent(of manifest: JobManifest, in store: ArtifactStore) throws -> PinnedVersion? {
        switch manifest.train.start {
        case .base: return nil
        case .production:
            return try store.rivals(of: manifest.name, alias: manifest.gate?.alias ?? ArtifactReference.production)
                .champion
        case .version(let reference):
            do {
                let version = try store.resolve(ArtifactReference(reference))
                return PinnedVersion(
                    number: version.number, digest: version.digest, path: version.url.path(percentEncoded: false))
            } catch let error as ArtifactError {
                throw OrchestrationError(.invalidInput, "train.init: \(error.description)")
            }
        }
    }

    /// Reads and hashes what stages of these kinds of input will read.
    ///
    /// Takes as long as reading all of it; call it off any actor.
    ///
    /// - Throws: `invalidInput` when a file is missing, lies outside the roots, or is no regular file.
    static func take(
        _ manifest: JobManifest, inputs: Set<StageDescriptor.Input>, roots: PathRoots, now: Date = Date()
    ) throws -> InputPins {
        var pins = InputPins()
        if inputs.contains(.data) || inputs.contains(.suites) {
            do {
                let files = try DataFiles(of: manifest, roots: roots, now: now)
                if inputs.contains(.data) {
                    pins.data = try files.bySplit.mapValues { try $0.map { try pin($0, roots, key: "data") } }
                }
                if inputs.contains(.suites), !files.evaluation.isEmpty {
                    pins.suites = try files.evaluation.mapValues { try $0.map { try pin($0, roots, key: "evaluate") } }
                }
            } catch let error as InvalidFile {
                throw OrchestrationError(.invalidInput, error.description)
            }
        }
        let folder = manifest.base.path
        if inputs.contains(.base) {
            var hasWeights = true
            if case .random = manifest.base { hasWeights = false }
            pins.base = try names(in: folder).filter { isBaseFile($0, hasWeights: hasWeights) }
                .map { try pin("\(folder)/\($0)", roots, key: "base") }
            guard pins.base.contains(where: { $0.path.hasSuffix("/config.json") }) || resolvedConfiguration(folder)
            else { throw OrchestrationError(.invalidInput, "base: there is no config.json in \(folder)") }
        }
        if inputs.contains(.tokenizer) {
            let more = "additional_chat_templates"
            let all = try names(in: folder)
            let templates = all.contains(more) ? try names(in: "\(folder)/\(more)").map { "\(more)/\($0)" } : []
            pins.tokenizer = try (all.filter(isTokenizerFile) + templates.filter { $0.hasSuffix(".jinja") })
                .map { try pin("\(folder)/\($0)", roots, key: "base") }
        }
        return pins
    }

    /// The files a request hands over: those of the kinds of input a stage has.
    func base(for inputs: Set<StageDescriptor.Input>) -> [PinnedFile] {
        let files = inputs.contains(.base) ? base : []
        guard inputs.contains(.tokenizer) else { return files }
        return files + tokenizer.filter { file in !files.contains { $0.path == file.path } }
    }

    /// In a cache of downloads, the files are symlinks into a folder of contents, named by digest.
    private static func resolvedConfiguration(_ folder: String) -> Bool { access("\(folder)/config.json", R_OK) == 0 }

    private static func isBaseFile(_ name: String, hasWeights: Bool) -> Bool {
        name == "config.json" || name == "generation_config.json"
            || hasWeights && (name.hasSuffix(".safetensors") || name.hasSuffix(".safetensors.index.json"))
    }

    /// What decides about tokens: with the tokenizer the configuration, which bounds the length of a sequence; for
    /// images, what prepares them.
    private static func isTokenizerFile(_ name: String) -> Bool {
        ["config.json", "preprocessor_config.json"].contains(name) || TokenizerFiles.include(name)
    }

    private static func names(in folder: String) throws -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: folder)
                .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        } catch {
            throw OrchestrationError(.invalidInput, "base: cannot list the folder \(folder): \(error)")
        }
    }

    private static func pin(_ path: String, _ roots: PathRoots, key: String) throws -> PinnedFile {
        guard let real = FilePaths.realPath(path) else {
            throw OrchestrationError(.invalidInput, "\(key): there is no file \(path)")
        }
        if !roots.contain(real) {
            throw OrchestrationError(
                .invalidInput,
                "\(key): \(path) leads to \(real), outside the roots of the workspace; see roots: in lorajobs.yaml")
        }
        var status = stat()
        guard stat(real, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw OrchestrationError(.invalidInput, "\(key): \(path) is not a regular file")
        }
        let length = Int64(status.st_size)
        do {
            return PinnedFile(
                path: real, length: length, digest: try Digest.sha256(of: URL(filePath: real), length: length))
        } catch let error as ArtifactError where error.code == .inputsChanged {
            throw OrchestrationError(.invalidInput, "\(key): \(error.description)")
        }
    }
}
