import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec
import Stages

/// Adapters that other programs wrote.
extension Adapters {
    struct Lint: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Look through an adapter folder in PEFT's format; exit 65 when something is wrong.",
            discussion: """
                PEFT loads folders with a wrong prefix or missing layers and computes with zeros. Here such a folder is \
                refused, and everything that is wrong is said at once. With --base the fit is checked too.
                """)

        @Argument(help: "The folder.") var folder: String
        @Option(name: .long, help: ArgumentHelp("The base it belongs to: a checkpoint folder.", valueName: "dir"))
        var base: String?
        @Flag(name: .long, help: "Print one JSON object, as validate does.") var json = false

        mutating func run() throws {
            let found = try AdapterFolder.examine(folder, base: base)
            let report = ValidationReport(found.findings)
            if json {
                try StandardOutput.line(report.json.text())
            } else {
                try StandardOutput.write(AdapterFolder.text(report, of: folder))
                if report.isValid { try StandardOutput.line("\(folder): sound") }
            }
            if !report.isValid { try ExitStatus.invalidInput.end() }
        }
    }

    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make an adapter folder in PEFT's format a new version in the store.",
            discussion: """
                It is looked through as lint does, and refused when something is wrong. Its files stay as they are; the \
                version's lineage says that it was imported, and from where. The same adapter is not taken twice.
                """)

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The folder.") var folder: String
        @Option(name: .long, help: "Its name in the store; else that of the folder.") var name: String?
        @Option(name: .long, help: ArgumentHelp("The base it belongs to: a checkpoint folder.", valueName: "dir"))
        var base: String?
        @Flag(name: .long, help: "Print one JSON object: the findings, and the version.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let found = try AdapterFolder.examine(folder, base: base)
            let report = ValidationReport(found.findings)
            if !json { Talk.write(AdapterFolder.text(report, of: folder)) }
            guard report.isValid else {
                if json { try StandardOutput.line(report.json.text()) }
                return try ExitStatus.invalidInput.end()
            }
            let name = name ?? found.folder.standardizedFileURL.lastPathComponent
            let store = ArtifactStore(workspace.artifacts)
            let (version, isNew) = try publish(found, as: name, in: store)
            if json {
                guard case .object(var members) = report.json else { return }
                members["adapter"] = .object(VersionReport(version: version, workspace: workspace).json)
                members["new"] = .bool(isNew)
                return try StandardOutput.json(members)
            }
            try StandardOutput.line(version.reference)
            Talk.say(
                isNew
                    ? "imported \(folder) as \(version.reference)"
                    : "\(folder) is \(version.reference) already; nothing was imported")
        }

        private func publish(
            _ found: AdapterImport, as name: String, in store: ArtifactStore
        ) throws -> (Version, isNew: Bool) {
            let staging = FileManager.default.temporaryDirectory.appending(
                path: "lorajobs-import-\(UUID().uuidString)", directoryHint: .isDirectory)
            defer { try? FileManager.default.removeItem(at: staging) }
            try found.copy(to: staging)
            let digest = try Digest.sha256(of: staging.appending(path: "adapter_model.safetensors"))
            let configuration = try Digest.sha256(of: staging.appending(path: "adapter_config.json"))
            let known: [Version]
            do { known = try store.versions(of: name) } catch let error as ArtifactError
                where error.code == .noSuchArtifact
            {
                known = []
            }
            let same = known.first {
                $0.digest == digest
                    && $0.record["files"]?["adapter_config.json"]?["digest"] == .string(configuration)
            }
            if let same { return (same, false) }
            let attempt = "import-\(ULID().description)"
            return (try store.publish(folder: staging, in: .adapters, name: name, attemptID: attempt), true)
        }
    }
}

/// A folder that a person names, and what is found in it.
private enum AdapterFolder {
    static func examine(_ folder: String, base: String?) throws -> AdapterImport {
        let url = CommandLineFile.url(folder)
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else {
            throw CommandFailure(.notFound, "\(folder): no such folder")
        }
        guard isFolder.boolValue else {
            throw CommandFailure(.invalidInput, "\(folder) is a file; name the folder that holds adapter_config.json")
        }
        let baseURL = base.map(CommandLineFile.url)
        if let base, let baseURL, !FileManager.default.fileExists(atPath: baseURL.appending(path: "config.json").path) {
            throw CommandFailure(.notFound, "\(base) is not a checkpoint folder: it has no config.json")
        }
        return try AdapterImport(of: url, base: baseURL)
    }

    /// The findings for a person, a line each.
    static func text(_ report: ValidationReport, of folder: String) -> String {
        var text = ""
        for finding in report.findings {
            let place = finding.pointer.isEmpty ? folder : String(finding.pointer.dropFirst())
            text += "\(finding.severity.rawValue): \(place): \(finding.message)"
            text += (finding.hint.map { "; \($0)" } ?? "") + "\n"
        }
        return report.omitted > 0 ? text + "and \(report.omitted) more\n" : text
    }
}
