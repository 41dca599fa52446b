import Foundation
import Orchestration
import PipelineSpec

/// The bytes of a manifest as a person names it on the command line.
struct ManifestSource: Sendable {
    /// As it was typed; `-` is standard input.
    let path: String
    let data: Data

    /// Reads the file, or standard input for `-`.
    ///
    /// - Throws: ``CommandFailure`` when there is no such file, or it cannot be read.
    init(_ path: String) throws {
        self.path = path
        let limit = 64 << 20
        if path == "-" {
            data = try FileHandle.standardInput.read(upToCount: limit) ?? Data()
            return
        }
        do {
            let handle = try FileHandle(forReadingFrom: URL(filePath: path))
            defer { try? handle.close() }
            data = try handle.read(upToCount: limit) ?? Data()
        } catch {
            var status = stat()
            guard stat(path, &status) == 0 else {
                throw CommandFailure(.notFound, "there is no file \(PrintableText.line(path, limit: 200))")
            }
            let isFolder = status.st_mode & S_IFMT == S_IFDIR
            throw CommandFailure(
                isFolder ? .usage : .ioError,
                isFolder ? "\(path) is a folder; name the manifests in it" : "cannot read \(path): \(error)")
        }
    }

    init(path: String, data: Data) {
        self.path = path
        self.data = data
    }

    /// The file's name, without its folder.
    var name: String { path == "-" ? "stdin.yaml" : URL(filePath: path).lastPathComponent }

    /// The same manifest with some values replaced; untouched when there are none.
    func setting(_ assignments: [String]) throws -> ManifestSource {
        if assignments.isEmpty { return self }
        // What comes out is YAML, whatever went in.
        let plain = path.hasSuffix(".json") ? String(path.dropLast(5)) + ".yaml" : path
        return ManifestSource(path: plain, data: try ManifestOverrides.apply(assignments, to: data))
    }

    /// What is right or wrong with a file that may be a schedule's, and when that is due.
    func judgeAsEither(_ setup: WorkspaceSetup) -> (judgement: Judgement, schedule: ScheduleDefinition?) {
        guard ScheduleFile.isSchedule(data) else { return (judge(setup), nil) }
        let file = setup.resolver.readSchedule(data)
        switch file.manifest {
        case .success(let resolved):
            return (Judgement(source: self, findings: resolved.warnings, resolved: resolved), file.definition)
        case .failure(let invalid):
            return (Judgement(source: self, findings: invalid.findings, resolved: nil), file.definition)
        }
    }

    /// What is right or wrong with the manifest.
    func judge(_ setup: WorkspaceSetup) -> Judgement {
        do {
            let resolved = try setup.resolver.resolve(data)
            // Of trials the one that needs most.
            let estimates = (resolved.sweep?.trials.map(\.manifest) ?? [resolved.manifest]).map {
                (manifest: $0, memory: WorkspaceSetup.estimateMemory($0))
            }
            let misfits =
                estimates.max { $0.memory ?? 0 < $1.memory ?? 0 }.map { largest in
                    setup.capacity.findings(for: largest.manifest, memoryBytes: largest.memory) {
                        WorkspaceSetup.fittingChange(largest.manifest, $0)
                    }
                } ?? []
            return Judgement(
                source: self, findings: resolved.warnings + misfits, resolved: misfits.isEmpty ? resolved : nil)
        } catch let error as InvalidFile {
            return Judgement(source: self, findings: error.findings, resolved: nil)
        } catch {
            let finding = Finding(Finding.Code(rawValue: "unreadable"), "\(error)")
            return Judgement(source: self, findings: [finding], resolved: nil)
        }
    }
}

/// A manifest and the verdict on it.
struct Judgement: Sendable {
    let source: ManifestSource
    let findings: [Finding]
    /// `nil` when the manifest is refused.
    let resolved: ResolvedManifest?

    var report: ValidationReport { ValidationReport(findings) }

    /// The report for people, or for a valid manifest its warnings.
    func text(consequence: String) -> String {
        if resolved != nil {
            return findings.map { finding in
                let place = finding.line.map { ":\($0):\(finding.column ?? 1)" } ?? ""
                return "\(source.path)\(place): warning: \(finding.message)" + (finding.hint.map { "; \($0)" } ?? "")
                    + "\n"
            }.joined()
        }
        return report.text(file: source.path, source: source.data, consequence: consequence)
    }

    /// What `validate --json` prints.
    ///
    /// With several files each finding says which it is about.
    static func json(_ judgements: [Judgement]) -> [String: JSON] {
        guard judgements.count != 1, !judgements.isEmpty else {
            guard case .object(let members)? = judgements.first?.report.json else { return [:] }
            return members
        }
        var findings: [JSON] = []
        for judgement in judgements {
            guard case .array(let own)? = judgement.report.json["findings"] else { continue }
            for case .object(var members) in own {
                members["file"] = .string(judgement.source.path)
                findings.append(.object(members))
            }
        }
        return ["valid": .bool(judgements.allSatisfy(\.report.isValid)), "findings": .array(findings)]
    }
}
