import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec

/// What became of an adapter, and what differs between its versions.
extension Adapters {
    struct Log: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the history of an adapter: its versions, and every move of an alias with its reason.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The adapter.") var name: String
        @Option(name: .shortAndLong, help: "Only so many, the newest.") var n: Int?
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let workspace = try options.locate()
            let store = ArtifactStore(workspace.artifacts)
            let all = try store.log(of: ArtifactReference(name).name)
            let entries = n.map { Array(all.suffix(max(0, $0))) } ?? all
            if json {
                return try StandardOutput.json(["log": .array(entries.map { .object(Self.json($0)) })])
            }
            var table = Table("TIME EVENT VERSION ~WHY")
            for entry in entries {
                table.add([
                    Table.Cell(Self.time(entry.time)), Table.Cell(Self.event(entry)),
                    Table.Cell(entry.version.map(String.init) ?? ""),
                    Table.Cell(PrintableText.line(entry.reason ?? "", limit: 300)),
                ])
            }
            try StandardOutput.write(table.text(.output))
        }

        private static func time(_ text: String) -> String {
            let date = try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true))
            return date.map(Moments.local) ?? PrintableText.line(text, limit: 30)
        }

        private static func event(_ entry: LogEntry) -> String {
            if entry.event == .gated { return "gate \(PrintableText.line(entry.gate ?? "", limit: 20))" }
            guard let alias = entry.alias else { return PrintableText.line(entry.event.rawValue, limit: 30) }
            guard entry.version != nil else { return "\(alias) removed" }
            return entry.previous.map { "\(alias) from \($0)" } ?? "\(alias) set"
        }

        private static func json(_ entry: LogEntry) -> [String: JSON] {
            [
                "event": .string(entry.event.rawValue), "time": .string(entry.time),
                "version": .optional(entry.version), "alias": .optional(entry.alias),
                "previous": .optional(entry.previous), "digest": .optional(entry.digest),
                "attempt": .optional(entry.attempt), "reason": .optional(entry.reason),
                "gate": .optional(entry.gate),
            ]
        }
    }

    struct Diff: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what differs between two versions: what made them, and how good they are.",
            discussion: """
                The second may be a number alone: lorajobs adapters diff notes:41 42. In a store of one adapter both may be.
                """)

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "A version.") var first: String
        @Argument(help: "Another one, or its number alone.") var second: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let store = try ArtifactStore(options.locate().artifacts)
            let old = try store.resolve(Self.reference(first, in: store))
            let new = try store.resolve(
                Int(second).map { ArtifactReference(name: old.name, selector: .version($0)) }
                    ?? ArtifactReference(second))
            let differences = VersionDifference.between(old.record, new.record)
            if json {
                return try StandardOutput.json([
                    "first": .string(old.reference), "second": .string(new.reference),
                    "differences": .array(
                        differences.map {
                            .object(["key": .string($0.key), "first": $0.old ?? .null, "second": $0.new ?? .null])
                        }),
                ])
            }
            var table = Table("KEY ~\(old.reference) ~\(new.reference)")
            for difference in differences {
                table.add([
                    Table.Cell(difference.key), Table.Cell(VersionDifference.text(difference.old)),
                    Table.Cell(VersionDifference.text(difference.new)),
                ])
            }
            if differences.isEmpty {
                return Talk.say("\(old.reference) and \(new.reference) tell the same of themselves")
            }
            try StandardOutput.write(table.text(.output))
        }

        /// A number alone is a version of the only adapter there is.
        private static func reference(_ text: String, in store: ArtifactStore) throws -> ArtifactReference {
            guard let number = Int(text), number > 0 else { return try ArtifactReference(text) }
            let names = try store.names()
            if names.contains(text) { return ArtifactReference(name: text) }
            guard let name = names.first, names.count == 1 else {
                throw CommandFailure(.usage, "of which adapter? write NAME:\(text)")
            }
            return ArtifactReference(name: name, selector: .version(number))
        }
    }
}

/// A value in the records of two versions.
struct VersionDifference: Equatable {
    /// Dotted.
    var key: String
    /// `nil` where there is none.
    var old: JSON?
    var new: JSON?

    /// What differs, sorted by key; what differs between any two versions is left out.
    static func between(_ old: JSON, _ new: JSON) -> [VersionDifference] {
        let always: Set<String> = ["version", "created", "attempt", "files", "lineage.costs"]
        let (before, after) = (flat(old), flat(new))
        return Set(before.keys).union(after.keys).sorted().compactMap { key in
            let isTold = !always.contains { key == $0 || key.hasPrefix($0 + ".") }
            guard isTold, before[key] != after[key] else { return nil }
            return VersionDifference(key: key, old: before[key], new: after[key])
        }
    }

    private static func flat(_ value: JSON) -> [String: JSON] {
        // Each set of an evaluation and each check of a gate is one line.
        if let parts = RecordPart.parts(of: value) {
            return Dictionary(uniqueKeysWithValues: parts.map { ($0.name, $0.value) })
        }
        guard case .object(let members) = value else { return ["": value] }
        var found: [String: JSON] = [:]
        for (name, member) in members {
            for (key, value) in flat(member) { found[key.isEmpty ? name : "\(name).\(key)"] = value }
        }
        return found
    }

    /// A value on a line.
    static func text(_ value: JSON?) -> String {
        switch value {
        case nil: "-"
        case .array(let elements)? where elements.count > 4: "\(elements.count) values"
        case let value? where RecordPart.parts(of: .array([value])) != nil:
            PrintableText.line(RecordPart.text(value), limit: 300)
        case let value?: PrintableText.line(value.plainText, limit: 80)
        }
    }
}
