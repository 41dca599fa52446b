import Foundation
import PipelineSpec
import TestSupport
import Testing

/// A workspace on a file system that runs full: it waits, says why, and goes on by itself.
@Suite(.timeLimit(.minutes(30))) struct DiskFullTests {
    /// A shop on a small file system in memory; `nil` when that is not permitted here, and the test is skipped.
    private func smallShop(test: String = #function) async throws -> Workshop? {
        try await Workshop.make(test: test) { folder in
            let mount = try Running(
                URL(filePath: "/bin/mount"), ["-t", "tmpfs", "-o", "size=300m", "lorajobs-test", folder.path],
                in: URL(filePath: "/"), environment: [:], input: "")
            let outcome = try await mount.outcome()
            if outcome.status == 0 { return true }
            let message = "\(test): a small file system cannot be mounted here: \(outcome.talk)"
            if ProcessInfo.processInfo.environment["LORAJOBS_REQUIRE_DATA"] == "1", geteuid() == 0 {
                throw Program.Unexpected(description: message)
            }
            FileHandle.standardError.write(Data("*** SKIPPED *** \(message)\n".utf8))
            return false
        }
    }

    /// Leaves so many bytes free.
    private func fill(_ shop: Workshop, leaving free: Int) throws {
        let filler = shop.url("filler")
        try Data().write(to: filler)
        let handle = try FileHandle(forWritingTo: filler)
        defer { try? handle.close() }
        var status = statvfs()
        try #require(statvfs(shop.root.path, &status) == 0)
        var bytes = Int(status.f_bavail) * Int(status.f_bsize) - free
        while bytes > 0 {
            // Others write too: what is refused at last is what is wanted.
            guard posix_fallocate(handle.fileDescriptor, 0, off_t(bytes)) != 0 else { break }
            bytes -= 4096
        }
    }

    @Test func nothingIsTakenUntilThereIsRoom() async throws {
        guard let shop = try await smallShop() else { return }
        try fill(shop, leaving: 100 << 20)
        try await shop.startDaemon()
        try shop.drop(shop.manifest(), as: "tone.yaml")
        try await shop.until("status says why") {
            let status = try await shop.program.run("status", "--json").json()
            return status["daemon"]?["intake_paused"]?.word?.contains("disk full") == true
        }
        let text = try await shop.program.run("status").output
        #expect(text.contains("disk full") && text.contains("MiB free"), "\(text)")
        #expect(try shop.names(in: "Jobs/inbox") == ["tone.yaml"])
        try FileManager.default.removeItem(at: shop.url("filler"))
        #expect(try await shop.ended()["adapter"] == "tone:1")
    }

    @Test func aJobThatRanOutOfRoomGoesOn() async throws {
        guard let shop = try await smallShop() else { return }
        try await shop.startDaemon(shop.stoppingAtCheckpoint)
        try shop.drop(shop.manifest(steps: 60), as: "tone.yaml")
        let id = try await shop.id()
        let worker = try await shop.trainingStoppedAtCheckpoint(id)
        try fill(shop, leaving: 0)
        kill(worker, SIGCONT)
        try await shop.until("the training has failed for want of room") { kill(worker, 0) != 0 }
        // The queue can be looked at on a full disk.
        try await shop.until("status says why") {
            let status = try await shop.program.run("status", "--all", "--json").json()
            let job = status["jobs"]?.elements.first { $0["id"] == .string(id) }
            return status["disk_low"]?.word != nil && job?["state"]?.word != "failed"
        }
        try FileManager.default.removeItem(at: shop.url("filler"))
        let job = try await shop.ended()
        #expect(job["state"] == "succeeded" && job["adapter"] == "tone:1", "\(job)")
        #expect(try shop.versions() == [1])
        #expect(try await shop.program.run("adapters", "verify").status == 0)
    }
}
