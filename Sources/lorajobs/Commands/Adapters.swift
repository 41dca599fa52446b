import ArgumentParser
import Artifacts
import Foundation
import Orchestration
import PipelineSpec

struct Adapters: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The versions of adapters: list, compare, promote, roll back, export and verify them.",
        discussion: "A version is named NAME, NAME:3, NAME@production, NAME@production~1 or NAME@sha256:DIGEST.",
        subcommands: [
            List.self, ShowVersion.self, Log.self, Diff.self, Promote.self, RollBack.self, Reject.self, Pin.self,
            Compare.self, Lint.self, Import.self, Export.self, Verify.self,
        ])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the newest version of each adapter, and the one in production.")

        @OptionGroup var options: WorkspaceOptions
        @Flag(name: .shortAndLong, help: "Every version.") var all = false
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let store = ArtifactStore(workspace.artifacts)
            var versions = try store.list(.adapters, all: all)
            var damage: [String: [Int: String]] = [:]
            var production: [String: Int] = [:]
            for name in Set(versions.map(\.name)) {
                damage[name] = try store.knownDamage(of: name)
                production[name] = try store.aliases(of: name)[ArtifactReference.production]
            }
            if json {
                return try StandardOutput.json([
                    "adapters": .array(
                        versions.map { version in
                            var members = VersionReport(
                                version: version, workspace: workspace, damage: damage[version.name]?[version.number]
                            ).json
                            members["production"] = .optional(production[version.name])
                            return .object(members)
                        })
                ])
            }
            if !all {
                // What is in production is what most people look for; it comes after the newest.
                versions = try versions.flatMap { newest -> [Version] in
                    guard let number = production[newest.name], number != newest.number else { return [newest] }
                    return try [newest] + store.versions(of: newest.name).filter { $0.number == number }
                }
            }
            func isDamaged(_ version: Version) -> Bool {
                version.record == .null || damage[version.name]?[version.number] != nil
            }
            if versions.isEmpty {
                return Talk.say("the store has no adapters yet; a job that succeeds makes one: lorajobs submit FILE")
            }
            var table = Table("NAME >VERSION ALIASES >LOSS CREATED ~PATH")
            for version in versions {
                let remarks = version.aliases + (isDamaged(version) ? ["damaged"] : [])
                table.add([
                    Table.Cell(version.name), Table.Cell("\(version.number)", isDamaged(version) ? .red : nil),
                    Table.Cell(remarks.joined(separator: ",")), Table.Cell(VersionReport.loss(of: version)),
                    Table.Cell(Moments.local(version.created)),
                    Table.Cell(workspace.relativePath(version.url)),
                ])
            }
            try StandardOutput.write(table.text(.output))
            for version in versions where isDamaged(version) {
                Talk.warn("\(version.reference) is damaged; see: lorajobs adapters verify \(version.reference)")
            }
        }
    }

    struct ShowVersion: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show what a version is made of, what made it, and how good it is.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version.") var reference: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let store = ArtifactStore(workspace.artifacts)
            let version = try store.resolve(ArtifactReference(reference))
            let report = VersionReport(
                version: version, workspace: workspace, damage: try store.knownDamage(of: version.name)[version.number])
            if json { return try StandardOutput.json(report.json.merging(["record": version.record]) { $1 }) }
            try StandardOutput.write(report.text)
        }
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read versions and compare every file with its digest; exit 65 when something is damaged.",
            discussion: """
                Without a version everything is read: versions, logs, blobs and cached outputs. A damaged file of which \
                there is a whole copy is replaced by it; other damaged blobs are moved to Artifacts/quarantine, and \
                adapters log, list and show tell of damaged versions from then on. No alias can be moved to one, and it \
                cannot be exported.

                With --sample 5% a twentieth of the files is read; which one goes by the date, so that a check that runs \
                every day has read everything after twenty days. One that runs once a week is to read everything. When \
                damage is found, everything is read at once.
                """)

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version; without it everything in the store.") var reference: String?
        @Option(
            name: .long, help: "Read this share of the files, as 5%; all are looked for, and logs are read.",
            transform: { text in
                guard let share = Quantity.share(text), share > 0 else {
                    throw ValidationError("\(text) is no share of a whole, such as 5%")
                }
                return share
            }) var sample: Double?
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func validate() throws {
            if reference != nil && sample != nil {
                throw ValidationError("--sample is of the whole store, not of a version")
            }
        }

        mutating func run() throws {
            let workspace = try options.locate()
            let store = ArtifactStore(workspace.artifacts)
            let part = sample.map { VerifiedPart(share: $0, on: Date()) } ?? .whole
            var damage = try store.verify(reference.map { try ArtifactReference($0) }, part: part)
            // What is found decides what is written down of every version, so nothing may be left unread then.
            if !damage.isEmpty && part != .whole { damage = try store.verify() }
            let isRead = part == .whole || !damage.isEmpty
            // Of the whole store, so that what is written down of every version is true.
            if reference == nil, isRead, access(workspace.artifacts.path(percentEncoded: false), W_OK) == 0 {
                let mended = try store.mend(damage)
                for entry in mended {
                    Talk.warn("put a whole copy in the place of \(workspace.relativePath(URL(filePath: entry.path)))")
                }
                // A record that is whole again tells of more files.
                if !mended.isEmpty { damage = try store.verify() }
                for blob in try store.quarantine(damage) {
                    Talk.warn("put a damaged blob away: \(workspace.relativePath(blob))")
                }
            }
            if json {
                try StandardOutput.json([
                    "valid": .bool(damage.isEmpty), "part": .integer(isRead ? 1 : part.index + 1),
                    "parts": .integer(isRead ? 1 : part.count),
                    "damage": .array(
                        damage.map {
                            .object([
                                "problem": .string($0.problem.rawValue), "subject": .string($0.subject),
                                "path": .string(workspace.relativePath(URL(filePath: $0.path))),
                                "message": .string($0.message), "advice": .string($0.advice),
                            ])
                        }),
                ])
            } else {
                for line in damage.report { try StandardOutput.line(line) }
                let read = isRead ? "" : " as far as it was read: part \(part.index + 1) of \(part.count)"
                if damage.isEmpty { try StandardOutput.line("\(reference ?? "the store"): sound\(read)") }
            }
            if !damage.isEmpty { try ExitStatus.invalidInput.end() }
        }
    }
}

/// What is printed of a version.
struct VersionReport {
    let version: Version
    let workspace: Workspace
    /// Why it is known to be damaged.
    var damage: String?

    /// A member of `adapters list --json`.
    ///
    /// Paths are relative to the workspace.
    var json: [String: JSON] {
        [
            "name": .string(version.name), "version": .integer(version.number),
            "aliases": .array(version.aliases.map { .string($0) }), "digest": .string(version.digest),
            "path": .string(workspace.relativePath(version.url)), "created": .string(Moments.json(version.created)),
            "damaged": .bool(version.record == .null || damage != nil),
            "metrics": version.record["metrics"] ?? .object([:]),
        ]
    }

    /// The loss that its evaluation found, or the last its training did; empty when the record has neither.
    static func loss(of version: Version) -> String {
        for key in ["loss", "validation_loss", "training_loss"] {
            switch version.record["metrics"]?[key] {
            case .number(let value): return String(format: "%.4f", value)
            case .integer(let value): return String(format: "%.4f", Double(value))
            default: continue
            }
        }
        return ""
    }

    /// A value on a line; lists and objects too long to read there are left to `--json`.
    private static func short(_ value: JSON) -> String {
        let text = value.plainText
        guard text.count > 80 else { return text }
        return switch value {
        case .array(let elements): "\(elements.count) values; see --json"
        case .object(let members): "\(members.count) values; see --json"
        default: text
        }
    }

    /// Which classes were taken for which, of the sets on which classes are chosen.
    private var mistakes: [(String, String)] {
        guard case .array(let sets)? = version.record["evaluation"]?["sets"] else { return [] }
        var names: [String] = []
        if case .array(let classes)? = version.record["classes"] { names = classes.map(\.plainText) }
        return sets.compactMap { set in
            guard let confusion = Confusion(set, names: names) else { return nil }
            return ("mistakes.\(confusion.set)", confusion.summary() ?? "none")
        }
    }

    var text: String {
        var lines = [
            ("adapter", version.reference), ("aliases", version.aliases.joined(separator: ", ")),
            ("digest", version.digest), ("path", workspace.relativePath(version.url)),
            ("created", Moments.local(version.created)), ("attempt", version.attemptID),
        ]
        if let damage { lines.insert(("damaged", damage), at: 1) }
        if case .object(let members) = version.record {
            // What the store itself wrote stands above.
            let known: Set<String> = ["name", "version", "digest", "created", "attempt", "files"]
            for (key, value) in members.sorted(by: { $0.key < $1.key }) where !known.contains(key) {
                guard case .object(let inner) = value else {
                    lines.append((key, Self.short(value)))
                    continue
                }
                for (name, value) in inner.sorted(by: { $0.key < $1.key }) {
                    guard let parts = RecordPart.parts(of: value) else {
                        lines.append(("\(key).\(name)", Self.short(value)))
                        continue
                    }
                    for (part, value) in parts { lines.append(("\(key).\(name).\(part)", RecordPart.text(value))) }
                }
            }
        }
        lines += mistakes
        let width = lines.map { DisplayWidth.of($0.0) }.max() ?? 0
        return lines.map { DisplayWidth.pad($0.0, to: width) + "  " + PrintableText.line($0.1, limit: 400) + "\n" }
            .joined()
    }
}
