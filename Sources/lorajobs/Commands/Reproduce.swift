import ArgumentParser
import Artifacts
import Foundation
import PipelineSpec
import Stages

struct Reproduce: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a version again from its own record, and compare what each stage makes.",
        discussion: """
            The recorded manifest runs once more on the pinned inputs, with the recorded seed and threads, outside the queue \
            and the store. The first stage whose output differs is named. The exit code is 0 when all is the same, 1 when \
            something differs, and 66 when inputs are gone or changed: nothing runs then.
            """)

    @OptionGroup var options: WorkspaceOptions
    @Argument(help: "The version.") var reference: String
    @Option(
        name: .long,
        help: ArgumentHelp("Keep what the stages make in this folder, which must not exist.", valueName: "dir"))
    var keep: String?
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    mutating func run() throws {
        // What the stages computed with when the version was made.
        Engine.useFastestKernels()
        let workspace = try options.locate()
        let version = try version(in: ArtifactStore(workspace.artifacts))
        let reproduction = try Engine.run {
            try Reproduction(of: version.record, reference: version.reference, workspace: workspace.root)
        }
        for text in reproduction.circumstances { Talk.warn("\(text): bytes may differ without a fault") }
        let losses = try reproduction.losses()
        guard losses.isEmpty else {
            if json {
                try StandardOutput.json([
                    "adapter": .string(version.reference), "reproduced": .bool(false), "stages": .array([]),
                    "losses": .array(
                        losses.map { .object(["path": .string($0.path), "message": .string($0.what)]) }),
                ])
            }
            for loss in losses { Talk.say("\(loss.path) \(loss.what)") }
            throw CommandFailure(
                .notFound,
                "\(version.reference) cannot be made again: \(losses.count) of its inputs "
                    + "\(losses.count == 1 ? "is" : "are") not what it was made from")
        }
        let folder = try self.folder()
        defer { if keep == nil { try? FileManager.default.removeItem(at: folder) } }
        Talk.say("\(version.reference): \(reproduction.kinds.joined(separator: ", "))")
        let outcomes = try reproduction.run(in: folder, start: Self.start) { outcome in
            Talk.say("  \(outcome.kind): \(outcome.isEqual ? "the same" : "different")")
        }
        let digest = try reproduction.adapterDigest(in: folder)
        let first = outcomes.first { !$0.isEqual }
        if json { try StandardOutput.json(Self.json(version, outcomes, digest, first, reproduction)) }
        if !json { try StandardOutput.line(Self.verdict(version, digest, first)) }
        if first != nil { try ExitStatus.jobFailed.end() }
    }

    private func version(in store: ArtifactStore) throws -> Version {
        let reference = try ArtifactReference(reference)
        do {
            return try store.resolve(reference)
        } catch let error as ArtifactError where error.code == .noSuchArtifact {
            // A checkpoint that was trained whole has no adapter.
            guard try store.names(in: .models).contains(reference.name) else { throw error }
            return try store.resolve(reference, in: .models)
        }
    }

    private func folder() throws -> URL {
        let url =
            keep.map(CommandLineFile.url)
            ?? FileManager.default.temporaryDirectory.appending(path: "lorajobs-reproduce-\(ULID().description)")
        guard !FileManager.default.fileExists(atPath: url.path) else {
            throw CommandFailure(.cannotWrite, "\(url.path) exists; name a folder that does not")
        }
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        return url
    }

    /// Runs a stage in a process of its own, as the daemon does.
    private static func start(_ directory: RunDirectory) throws -> Int32 {
        guard FileManager.default.createFile(atPath: directory.log.path, contents: nil) else {
            throw CommandFailure(.cannotWrite, "\(directory.log.path) cannot be made")
        }
        let log = try FileHandle(forWritingTo: directory.log)
        defer { try? log.close() }
        let process = Process()
        process.executableURL = try ownExecutable()
        process.arguments = ["stage", directory.url.path]
        // As the daemon's launcher has it: threads of a BLAS would get into the way of the engine's own.
        process.environment = ProcessInfo.processInfo.environment.merging([
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        ]) { $1 }
        (process.standardInput, process.standardOutput, process.standardError) = (FileHandle.nullDevice, log, log)
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus
    }

    private static func ownExecutable() throws -> URL {
        let path = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return URL(filePath: path)
    }

    private static func verdict(_ version: Version, _ digest: String?, _ first: Reproduction.Outcome?) -> String {
        guard let first else { return "\(version.reference) is reproduced: every stage made what was recorded" }
        let tensors =
            digest.map {
                $0 == version.digest
                    ? "; the adapter's tensors are the same all the same" : "; so do the adapter's tensors"
            } ?? ""
        return "\(version.reference) is not reproduced: the first stage that differs is \(first.kind)\(tensors)"
    }

    private static func json(
        _ version: Version, _ outcomes: [Reproduction.Outcome], _ digest: String?, _ first: Reproduction.Outcome?,
        _ reproduction: Reproduction
    ) -> [String: JSON] {
        [
            "adapter": .string(version.reference), "reproduced": .bool(first == nil),
            "first_difference": .optional(first?.kind),
            "stages": .array(
                outcomes.map {
                    .object([
                        "kind": .string($0.kind), "recorded": .string($0.recorded), "computed": .string($0.computed),
                        "equal": .bool($0.isEqual),
                    ])
                }),
            "digest": .object(["recorded": .string(version.digest), "computed": .optional(digest)]),
            "circumstances": .array(reproduction.circumstances.map { .string($0) }), "losses": .array([]),
        ]
    }
}
