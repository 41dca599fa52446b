import Foundation
import Orchestration
import PipelineSpec
import TestSupport
import Testing

@testable import lorajobs

@Suite struct JobLookupTests {
    /// A queue with jobs of the given names, submitted in this order.
    private func queue(_ names: [String], in folder: URL) throws -> (queue: JobQueue, ids: [String]) {
        let queue = try JobQueue.open(folder.appending(path: "queue.sqlite"))
        let ids = try names.map { name in
            let claim = ClaimedFile(
                claimID: ULID().description, tenant: "default", originalName: "\(name).yaml", bytes: Data(name.utf8),
                digest: "sha256:" + String(repeating: "0", count: 64), size: Int64(name.utf8.count), ownerID: 0)
            var manifest = JobManifest(name: name, base: .folder("/base"))
            manifest.run.onConflict = .queue
            let plan = StagePlan(name: "train", kind: "train", timeoutSeconds: 60, retries: 0)
            return try #require(try queue.accept(claim, Submission(manifest: manifest, stages: [plan])).job)
        }
        return (queue, ids)
    }

    @Test func uniqueBeginningsAreEnough() throws {
        let folder = try TemporaryFolder()
        let (queue, ids) = try queue(["a", "b"], in: folder.url)
        #expect(try JobLookup.id(ids[1], in: queue) == ids[1])
        #expect(try JobLookup.id(ids[0].lowercased(), in: queue) == ids[0])
        let error = #expect(throws: CommandFailure.self) { try JobLookup.id(String(ids[0].prefix(6)), in: queue) }
        #expect(error?.status == .usage)
        #expect(error?.description.contains(ids[0]) == true && error?.description.contains(ids[1]) == true)
    }

    @Test func unknownIdsNameTheNearOnes() throws {
        let folder = try TemporaryFolder()
        let (queue, ids) = try queue(["tone", "style", "tone"], in: folder.url)
        let slip = String(ids[1].dropLast()) + (ids[1].hasSuffix("Z") ? "Y" : "Z")
        let error = #expect(throws: CommandFailure.self) { try JobLookup.id(slip, in: queue) }
        #expect(error?.status == .notFound)
        #expect(error?.description.contains("\(ids[1])  style") == true)
        #expect(error?.description.contains(ids[0]) == false)

        let named = #expect(throws: CommandFailure.self) { try JobLookup.id("tone", in: queue) }
        #expect(named?.description.contains(ids[0]) == true && named?.description.contains(ids[2]) == true)
        #expect(named?.description.contains(ids[1]) == false)
    }

    @Test func noQueueHasNoJobs() throws {
        let folder = try TemporaryFolder()
        let workspace = Workspace(root: folder.url)
        try workspace.create()
        #expect(try QueueAccess.reading(workspace) == nil)
        let error = #expect(throws: CommandFailure.self) { try QueueAccess.writing(workspace, for: "01ABC") }
        #expect(error?.status == .notFound)
        // Looking for a job makes no queue.
        #expect(!FileManager.default.fileExists(atPath: workspace.database.path))
    }

    @Test func statusIsTheSameForPeopleAndPrograms() throws {
        let folder = try TemporaryFolder()
        let workspace = Workspace(root: folder.url)
        try workspace.create()
        let queue = try JobQueue.open(workspace.database)
        let manifest = JobManifest(name: "tone", base: .folder("/base"))
        let claim = ClaimedFile(
            claimID: ULID().description, tenant: "default", originalName: "t.yaml", bytes: Data(),
            digest: "sha256:" + String(repeating: "0", count: 64), size: 0, ownerID: 0)
        let plan = StagePlan(name: "train", kind: "train", timeoutSeconds: 60, retries: 0)
        let id = try #require(try queue.accept(claim, Submission(manifest: manifest, stages: [plan])).job)
        try queue.hold(id)

        let report = try StatusReport(workspace, JobFilter())
        #expect(report.json["daemon"]?["running"] == .bool(false))
        guard case .array(let jobs)? = report.json["jobs"] else { throw CommandFailure(.ioError, "no jobs") }
        #expect(jobs.map { $0["id"] } == [.string(id)])
        #expect(jobs.first?["state"] == .string("held"))
        #expect(jobs.first?["reason"] == .string("Held"))
        let text = report.text(Terminal(isInteractive: false, hasColor: false, width: nil))
        #expect(text.contains("ID ") && text.contains("REASON"))
        #expect(
            text.split(separator: "\n").contains { $0.hasPrefix("\(id)  tone  default  held") && $0.hasSuffix("Held") })
        #expect(text.contains("not running"))
        #expect(Explain.meaning("Held")?.contains("lorajobs release") == true)
    }
}
