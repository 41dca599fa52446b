import Foundation

/// libFuzzer's entry: the bytes are read as every YAML file of a workspace: manifest, schedule, pipeline and settings.
///
/// Each must be read or refused with a finding that stands inside the file, in bounded time and memory. Built together
/// with the sources of PipelineSpec as one module.
@_cdecl("LLVMFuzzerTestOneInput")
func fuzzManifest(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let data = Data(UnsafeBufferPointer(start: start, count: count))
    let lines = data.reduce(into: 1) { if $1 == 0x0A || $1 == 0x0D { $0 += 1 } }
    func check(_ read: () throws -> Void) {
        do {
            try read()
        } catch let error as InvalidFile {
            for finding in error.findings {
                precondition((finding.line ?? 1) >= 1 && (finding.line ?? 1) <= lines, "a finding outside the file")
                precondition((finding.column ?? 1) >= 1 && (finding.column ?? 1) <= count + 1)
            }
            let report = ValidationReport(error.findings)
            precondition(!report.text(file: "f", source: data).isEmpty)
            _ = report.json.text()
        } catch {
            precondition(!"\(error)".isEmpty)
        }
    }
    check { _ = try PipelineDefinition(data, name: "p", kinds: kinds) }
    check { _ = try WorkspaceSettings(data) }
    check { _ = try resolver.resolve(data) }
    if case .failure(let refusal) = resolver.readSchedule(data).manifest { check { throw refusal } }
    check { _ = try ManifestOverrides.apply(["train.epochs=2", "data.train=[a.txt, b.txt]", "name=other"], to: data) }
    return 0
}

private let kinds: [String: StageDescriptor] = [
    "tokenize": .init(kind: "tokenize", version: 1, manifestKeys: ["data"], inputs: [.data], requires: []),
    "train": .init(kind: "train", version: 1, manifestKeys: ["train"], inputs: [.base], requires: ["tokenize"]),
    "package": .init(
        kind: "package", version: 1, manifestKeys: [], inputs: [], requires: ["train"], isCacheable: false),
]

/// A resolver in a workspace of its own, which holds what the seeds name.
private let resolver: ManifestResolver = {
    let root = FileManager.default.temporaryDirectory.appending(path: "lorajobs-fuzz-\(getpid())")
    let files = [
        "models/base/config.json": "{}", "models/base/model.safetensors": "", "models/base/tokenizer.json": "{}",
        "data/a.txt": "a", "data/b.jsonl": "{}",
        "Pipelines/finetune.yaml": "{version: 1, name: finetune, stages: {tokenize: {uses: tokenize}}}",
    ]
    do {
        for (path, text) in files {
            let file = root.appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
    } catch {
        preconditionFailure("no workspace: \(error)")
    }
    atexit {
        try? FileManager.default.removeItem(
            at: FileManager.default.temporaryDirectory.appending(path: "lorajobs-fuzz-\(getpid())"))
    }
    return ManifestResolver(workspace: Workspace(root: root), settings: WorkspaceSettings(), kinds: kinds)
}()
