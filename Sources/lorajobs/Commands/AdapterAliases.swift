import ArgumentParser
import Artifacts
import Foundation
import Orchestration
import PipelineSpec

/// Moving aliases, and what people say of versions.
extension Adapters {
    struct Promote: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Point production, or another alias, at a version.",
            discussion: "The version is read and compared with its digests first.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version, such as notes:3.") var reference: String
        @Option(name: [.long, .customLong("alias")], help: ArgumentHelp("The alias.", valueName: "alias"))
        var to = ArtifactReference.production
        @Option(name: .long, help: ArgumentHelp("Why, for the log.", valueName: "text")) var reason = "by hand"
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let moved = try GateDecisions.promote(
                ArtifactReference(reference), alias: to, reason: reason, in: options.locate())
            try Adapters.tell(moved.version, to, before: moved.before, json)
        }
    }

    struct RollBack: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rollback", abstract: "Point production, or another alias, back at what it was before.",
            discussion: "Versions that are rejected, damaged or gone are passed over. Once more goes one further back.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The adapter.") var name: String
        @Option(name: .long, help: ArgumentHelp("This version instead.", valueName: "version")) var to: Int?
        @Option(name: .long, help: "The alias.") var alias = ArtifactReference.production
        @Option(name: .long, help: ArgumentHelp("Why, for the log.", valueName: "text")) var reason: String
        @Flag(name: .long, help: "Print one JSON object.") var json = false

        mutating func run() throws {
            let moved = try GateDecisions.rollBack(
                name, alias: alias, to: to, reason: "rollback: \(reason)", in: options.locate())
            try Adapters.tell(moved.version, alias, before: moved.before, json)
        }
    }

    struct Reject: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keep a version from being promoted, or with --undo let it be again.",
            discussion: "What an alias points at cannot be rejected: roll back first.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version.") var reference: String
        @Option(name: .long, help: ArgumentHelp("Why, for the log.", valueName: "text")) var reason = "by hand"
        @Flag(name: .long, help: "Take a rejection back.") var undo = false

        mutating func run() throws {
            let store = try Adapters.settledStore(options)
            let version = try store.resolve(ArtifactReference(reference))
            let isNew = try store.setRejected(!undo, Adapters.exact(version), reason: reason)
            let state = undo ? "may be promoted" : "is rejected"
            Talk.say(isNew ? "\(version.reference) \(state)" : "\(version.reference) \(state) already")
        }
    }

    struct Pin: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let gc keep a version whatever its age, or with --undo not any more.")

        @OptionGroup var options: WorkspaceOptions
        @Argument(help: "The version.") var reference: String
        @Option(name: .long, help: ArgumentHelp("Why, for the log.", valueName: "text")) var reason = "by hand"
        @Flag(name: .long, help: "Take a pin away.") var undo = false

        mutating func run() throws {
            let store = try ArtifactStore(options.locate().artifacts)
            let version = try store.resolve(ArtifactReference(reference))
            let isNew = try store.setPinned(!undo, Adapters.exact(version), reason: reason)
            let state = undo ? "is not pinned" : "is pinned"
            Talk.say(isNew ? "\(version.reference) \(state)" : "\(version.reference) \(state) already")
        }
    }

    /// The store, once it has followed what gates have decided: a person's word comes after it.
    fileprivate static func settledStore(_ options: WorkspaceOptions) throws -> ArtifactStore {
        let workspace = try options.locate()
        try GateDecisions.follow(in: workspace)
        return ArtifactStore(workspace.artifacts)
    }

    /// Says what an alias points at now.
    private static func tell(_ version: Version, _ alias: String, before: Int?, _ json: Bool) throws {
        if json {
            return try StandardOutput.json([
                "name": .string(version.name), "alias": .string(alias), "version": .integer(version.number),
                "before": .optional(before), "digest": .string(version.digest),
            ])
        }
        if before == version.number {
            return Talk.say("\(alias) of \(version.name) is version \(version.number) already")
        }
        let past = before.map { "; it was version \($0)" } ?? ""
        Talk.say("\(alias) of \(version.name) is version \(version.number) now\(past)")
    }

    /// A reference that no later publication or move of an alias changes.
    fileprivate static func exact(_ version: Version) -> ArtifactReference {
        ArtifactReference(name: version.name, selector: .version(version.number))
    }
}
