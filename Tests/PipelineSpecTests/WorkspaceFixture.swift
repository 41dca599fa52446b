import Foundation
import PipelineSpec
import TestSupport

/// A workspace with a base, data and the example pipelines, removed at the end.
final class WorkspaceFixture: Sendable {
    let folder: TemporaryFolder
    let workspace: Workspace

    /// One that all the tests that only read may share.
    static let shared = Result { try WorkspaceFixture() }

    static let kinds: [String: StageDescriptor] = {
        let all = [
            StageDescriptor(
                kind: "tokenize", version: 1, manifestKeys: ["data"], inputs: [.data, .tokenizer], requires: []),
            StageDescriptor(
                kind: "train", version: 1, manifestKeys: ["adapter", "train"], inputs: [.base], requires: ["tokenize"]),
            StageDescriptor(
                kind: "evaluate", version: 1, manifestKeys: ["evaluate"], inputs: [.base], requires: ["train"]),
            StageDescriptor(kind: "merge", version: 1, manifestKeys: ["merge"], inputs: [.base], requires: ["train"]),
            StageDescriptor(
                kind: "package", version: 1, manifestKeys: ["name"], inputs: [], requires: ["train"], isCacheable: false
            ),
        ]
        return Dictionary(uniqueKeysWithValues: all.map { ($0.kind, $0) })
    }()

    init() throws {
        folder = try TemporaryFolder()
        workspace = Workspace(root: folder.url.appending(path: "ws"))
        try workspace.create()
        try writeModel("ws/models/tiny")
        try write("ws/data/a.jsonl", "{}\n")
        try write("ws/data/b.jsonl", "{}\n")
        try write("ws/data/deep/er/c.jsonl", "{}\n")
    }

    var root: String { workspace.root.path(percentEncoded: false) }

    /// Writes a file below the temporary folder; the workspace is `ws`.
    func write(_ path: String, _ text: String) throws {
        let url = folder.url.appending(path: path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    /// The files that make a folder a base.
    func writeModel(_ path: String) throws {
        for name in ["config.json", "model.safetensors", "tokenizer.json"] { try write("\(path)/\(name)", "{}") }
    }

    func link(_ path: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(
            atPath: folder.url.appending(path: path).path, withDestinationPath: target)
    }

    func resolver(settings: String = "") throws -> ManifestResolver {
        let settings = settings.isEmpty ? WorkspaceSettings() : try WorkspaceSettings(Data(settings.utf8))
        var resolver = ManifestResolver(workspace: workspace, settings: settings, kinds: Self.kinds)
        resolver.cache = HuggingFaceCache(environment: ["HF_HOME": folder.url.path + "/hf"])
        resolver.timeZone = TimeZone(identifier: "Europe/Berlin")!
        return resolver
    }

    func resolve(_ text: String, settings: String = "") throws -> ResolvedManifest {
        try resolver(settings: settings).resolve(Data(text.utf8))
    }

    /// What is wrong with a manifest; empty when nothing is.
    func findings(_ text: String, settings: String = "") throws -> [Finding] {
        do {
            return try resolve(text, settings: settings).warnings
        } catch let error as InvalidFile {
            return error.findings
        }
    }

    /// The three lines that make a whole job, and more of them.
    static func manifest(_ more: String = "") -> String {
        "name: support-tone\nbase: models/tiny\ndata: data/*.jsonl\n" + more
    }
}

/// Code, line and column of a finding, to compare in one go.
struct Place: Equatable, CustomStringConvertible {
    let code: String
    let line: Int?
    let column: Int?

    init(_ code: String, _ line: Int?, _ column: Int?) {
        self.code = code
        self.line = line
        self.column = column
    }

    init(_ finding: Finding) { self.init(finding.code.rawValue, finding.line, finding.column) }

    var description: String { "\(code) \(line.map(String.init) ?? "-"):\(column.map(String.init) ?? "-")" }
}

/// The findings of a file that cannot be read, or nothing.
func refusal(_ data: Data) -> [Finding] {
    do {
        _ = try DocumentReader().read(data)
        return []
    } catch let error as InvalidFile {
        return error.findings
    } catch {
        return [Finding(.syntax, "unexpected error \(error)")]
    }
}
