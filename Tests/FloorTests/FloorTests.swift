import Foundation
import TestSupport
import Testing

/// Holds every source file to the floors of the house: an arrow between modules goes down only.
///
/// The compiler's own check finds a module that is used without being declared; it does not find a dependency that was
/// declared though it crosses the house. This table is the architecture, written once more; `Architecture.md` draws it.
@Suite struct FloorTests {
    /// What comes with the toolchain and may be used anywhere.
    static let system: Set<String> = ["Foundation", "Glibc", "Synchronization", "Dispatch", "Testing"]

    /// Every target, and what it may import beside ``system``.
    static let floors: [String: Set<String>] = [
        // 1
        "TensorCore": ["CKernels", "COpenBLAS"],
        "Tokenizers": ["CPCRE2"],
        "Images": ["CImages"],
        "PipelineSpec": ["Yams"],
        // 2
        "Layers": ["TensorCore"],
        "Artifacts": ["PipelineSpec", "CLinux", "Crypto"],
        // 3: Models, Adapters and Training never see one another
        "Models": ["TensorCore", "Layers", "Images"],
        "Adapters": ["TensorCore", "Layers"],
        "Training": ["TensorCore", "Layers"],
        "Orchestration": ["PipelineSpec", "Artifacts", "CLinux", "GRDB", "Logging", "Subprocess", "SystemPackage"],
        // 4: the only library that sees both halves
        "Stages": [
            "TensorCore", "Layers", "Models", "Adapters", "Training", "Tokenizers", "Images", "PipelineSpec",
            "Artifacts", "Crypto", "CZlib",
        ],
        // 5
        "lorajobs": [
            "Stages", "Orchestration", "Artifacts", "PipelineSpec", "Tokenizers", "ArgumentParser", "Logging",
        ],
        "lorajobs-inotify": ["CInotifyTools"],
    ]

    /// Swift files below a folder of the package.
    static func files(below path: String) -> [URL] {
        let root = TestData.packageRoot.appending(path: path)
        let enumerator = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)
        return (enumerator?.allObjects as? [URL] ?? []).filter { $0.pathExtension == "swift" }
    }

    /// The modules a file imports.
    static func imports(of file: URL) throws -> Set<String> {
        let pattern =
            /^\s*(?:@\w+(?:\(\w+\))?\s+)*(?:public |package |internal |private |fileprivate )?import (?:struct |class |enum |func |protocol |var |let |typealias )?(\w+)/
        return Set(
            try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
                line.firstMatch(of: pattern).map { String($0.1) }
            })
    }

    @Test(arguments: floors.keys.sorted())
    func importsGoDownOnly(target: String) throws {
        let files = Self.files(below: "Sources/\(target)")
        #expect(!files.isEmpty, "\(target) has no sources")
        let allowed = Self.system.union(Self.floors[target] ?? [])
        for file in files {
            let beyond = try Self.imports(of: file).subtracting(allowed)
            #expect(
                beyond.isEmpty,
                "\(file.path) imports \(beyond.sorted().joined(separator: ", ")), which is not below \(target)")
        }
    }

    @Test func everyTargetHasItsFloor() throws {
        let folders = try FileManager.default.contentsOfDirectory(
            at: TestData.packageRoot.appending(path: "Sources"), includingPropertiesForKeys: nil
        ).map(\.lastPathComponent)
        let swift = folders.filter { !Self.files(below: "Sources/\($0)").isEmpty }
        #expect(Set(swift) == Set(Self.floors.keys))
        #expect(!folders.contains { ["Utils", "Utilities", "Common", "Core", "Helpers"].contains($0) })
    }

    @Test func importsAreFound() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a.swift")
        try Data(
            "import A\npackage import B\n@testable import C\n  @preconcurrency public import D\nlet x = \"import E\"\nimport struct F.G\n"
                .utf8
        )
        .write(to: file)
        #expect(try Self.imports(of: file) == ["A", "B", "C", "D", "F"])
    }

    /// What "Adding.md" promises: a decoder is one file, and a line in the registry.
    @Test func aDecoderIsAFileAndALine() throws {
        let sources = try Self.files(below: "Sources").map { file in
            let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
            return (name: file.lastPathComponent, code: lines.filter { !$0.drop { $0 == " " }.hasPrefix("//") })
        }
        var decoders: [(name: String, file: String)] = []
        for source in sources {
            for line in source.code {
                if let found = line.firstMatch(of: #/^(?:enum (\w+): |final class (\w+): \w+, )ModelArchitecture/#) {
                    decoders.append((String(found.1 ?? found.2 ?? ""), source.name))
                }
            }
        }
        #expect(decoders.count >= 12, "\(decoders)")
        for decoder in decoders {
            let pattern = try Regex("\\b\(decoder.name)\\b").wordBoundaryKind(.simple)
            for source in sources where source.name != decoder.file {
                let uses = source.code.filter { $0.contains(pattern) }
                #expect(
                    uses.count == (source.name == "ModelRegistry.swift" ? 1 : 0),
                    "\(decoder.name) in \(source.name): \(uses)")
            }
        }
    }
}
