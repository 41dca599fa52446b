package import Foundation

/// A file of `Jobs/schedules`, as it was read.
package struct ScheduleFile: Sendable {
    /// When it is due; `nil` when `schedule:` is missing or wrong, so that it never fires.
    package let definition: ScheduleDefinition?
    /// The job of each occurrence, or everything that is wrong with the file.
    ///
    /// A file can have a definition and still be refused, such as while its base does not exist.
    package let manifest: Result<ResolvedManifest, InvalidFile>

    package init(definition: ScheduleDefinition?, manifest: Result<ResolvedManifest, InvalidFile>) {
        self.definition = definition
        self.manifest = manifest
    }

    /// Whether the bytes of a file have a `schedule:`, sound or not.
    package static func isSchedule(_ data: Data) -> Bool {
        guard let root = try? DocumentReader().read(data) else { return false }
        return root["schedule"] != nil
    }

    /// What an idempotency key may hold: it becomes the day on the wall at the occurrence.
    package static let dayTemplate = "{{ date }}"

    /// `key` as it is for an occurrence.
    package static func idempotencyKey(_ key: String, at occurrence: Occurrence) -> String {
        key.replacing(#/\{\{ *date *\}\}/#, with: occurrence.localDay)
    }
}

extension ManifestResolver {
    /// Reads a manifest with a `schedule:`. Looks at the file system, changes nothing.
    package func readSchedule(_ data: Data) -> ScheduleFile {
        do {
            var reader = DocumentReader()
            reader.maxBytes = settings.inbox.maxBytes
            let root = try reader.read(data)
            return readSchedule(root)
        } catch {
            return ScheduleFile(definition: nil, manifest: .failure(Self.refusal(error)))
        }
    }

    private func readSchedule(_ root: SourceNode) -> ScheduleFile {
        var values = ValueParser(timeZone: timeZone)
        var definition: ScheduleDefinition?
        if let node = root["schedule"] {
            definition = ScheduleDefinition(node, local: timeZone, &values)
        } else if root.entries != nil {
            values.findings.append(
                Finding(
                    .missingKey, at: root.mark, pointer: "/schedule", "schedule is missing",
                    hint: "write schedule: \"30 2 * * *\", or drop the file into Jobs/inbox to run it once"))
        }
        ScheduleTemplates.check(root, &values.findings)
        do {
            var resolver = self
            resolver.foreignKeys.insert("schedule")
            let manifest = try resolver.resolve(
                root,
                excluding: [
                    "run.at": "the schedule says when",
                    "matrix": "a schedule makes one job at a time; a sweep is submitted",
                ], noting: values.findings,
                allowingTemplates: true)
            return ScheduleFile(definition: definition, manifest: .success(manifest))
        } catch {
            return ScheduleFile(definition: definition, manifest: .failure(Self.refusal(error)))
        }
    }

    private static func refusal(_ error: any Error) -> InvalidFile {
        error as? InvalidFile ?? InvalidFile([Finding(.init(rawValue: "unreadable"), "\(error)")])
    }
}

/// Finds `{{ … }}` where nothing replaces it.
enum ScheduleTemplates {
    /// Notes every template in a file with a schedule, but for the one that is known where it is known.
    static func check(_ root: SourceNode, _ findings: inout [Finding]) {
        let key = root["run"]?["idempotency_key"]
        walk(root, except: key?.pointer, &findings)
        guard let key, let text = key.scalar?.text, !key.isNull else { return }
        let rest = text.replacing(#/\{\{ *date *\}\}/#, with: "")
        if rest.contains("{{") {
            findings.append(
                Finding(
                    .unsupported, at: key.mark, pointer: key.pointer,
                    "run.idempotency_key: only \(ScheduleFile.dayTemplate) is replaced, with the day of the occurrence",
                    hint: "write \(ScheduleFile.dayTemplate)"))
        } else if rest == text {
            findings.append(
                Finding(
                    .invalidValue, severity: .warning, at: key.mark, pointer: key.pointer,
                    "run.idempotency_key is the same every time, so only the first occurrence makes a job",
                    hint: "add \(ScheduleFile.dayTemplate)"))
        }
    }

    private static func walk(_ node: SourceNode, except pointer: String?, _ findings: inout [Finding]) {
        if node.pointer == pointer { return }
        for entry in node.entries ?? [] { walk(entry.value, except: pointer, &findings) }
        for element in node.elements ?? [] { walk(element, except: pointer, &findings) }
        if let text = node.scalar?.text, text.contains("{{") {
            findings.append(
                Finding(
                    .unsupported, at: node.mark, pointer: node.pointer,
                    "\(PrintableText.quoted(text)): templates are replaced in run.idempotency_key only"))
        }
    }
}
