import CLinux
import Foundation
import GRDB
import GRDBSQLite
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// The memory of this process.
private struct Held: CustomStringConvertible {
    /// Bytes that were asked for and not given back, but for those of SQLite.
    var asked: Int64 = 0
    /// Those of SQLite: its connections keep up to 2 MB of the database's pages each.
    var database: Int64 = 0
    /// Bytes in memory: with what the C library keeps in reserve, which depends on how many threads asked at once.
    var resident: Int64 = 0

    static func now() throws -> Held {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int64($0) } ?? 0
        let database = sqlite3_memory_used()
        return Held(
            asked: clinux_heap_in_use() - database, database: database,
            resident: pages * Int64(sysconf(Int32(_SC_PAGESIZE))))
    }

    var description: String { "\(asked >> 10), \(database >> 10) and \(resident >> 10) KiB" }
}

/// What a daemon that runs for months may not do.
@Suite struct GrowthTests {
    private static let isSoak = ProcessInfo.processInfo.environment["LORAJOBS_SOAK"] != nil

    /// After a warm-up, thousands of jobs leave nothing in memory: no driver, no sighting, no line of a log.
    ///
    /// In a process of its own, where no other test asks for memory.
    @Test func finishedJobsLeaveNothingInMemory() async throws {
        await #expect(processExitsWith: .success) { try await GrowthTests.runThousands() }
    }

    private static func runThousands() async throws {
        Backtraces.keepNone()
        // As the program does: what is free and kept by the C library would be taken for growth.
        Daemon.keepHeapSmall()
        // Where flushing costs nothing: this is about memory.
        let memory = URL(filePath: "/dev/shm", directoryHint: .isDirectory)
        let place = access(memory.path, W_OK) == 0 ? memory : FileManager.default.temporaryDirectory
        let test = try TestWorkspace(in: place)
        let (warm, all, batch) = isSoak ? (2000, 10_000, 50) : (500, 1000, 50)
        var configuration = test.configuration()
        configuration.launcher = InProcessLauncher()
        configuration.launchers = [InProcessLauncher()]
        configuration.descriptors = [
            StageDescriptor(kind: "only", version: 1, manifestKeys: ["train"], inputs: [.data], requires: [])
        ]
        let resolve = configuration.resolve
        configuration.resolve = { bytes, tenant in
            resolve(bytes, tenant).map { submission in
                Submission(
                    manifest: submission.manifest,
                    stages: [
                        StagePlan(
                            name: "only", kind: "only", needs: [], condition: nil, timeoutSeconds: 60, retries: 0)
                    ], origins: submission.origins)
            }
        }
        // Made before the daemon opens it.
        let queue = try test.queue()
        let (before, curve) = try await withDaemon(configuration) { daemon in
            var begun = Held()
            var curve: [String] = []
            for first in stride(from: 0, to: all, by: batch) {
                if first == warm { begun = try Held.now() }
                if first % 1000 == 0 { curve.append("\(first): \(try Held.now())") }
                for number in first..<(first + batch) {
                    try test.submit("name: job\(number % batch)\nseed: \(number)\n", name: "job\(number % batch).yaml")
                }
                daemon.poke()
                try await eventually("\(first + batch) jobs are finished") {
                    try queue.count(.succeeded) == first + batch
                }
            }
            return (begun, curve.joined(separator: ", "))
        }
        let now = try Held.now()
        let jobs = Int64(all - warm)
        let story = "after \(jobs) jobs; so many finished, asked for, by SQLite, and resident: \(curve), \(all): \(now)"
        // Forgotten drivers or jobs would be some kilobytes each: thousands of kilobytes.
        #expect(now.asked - before.asked < 1 << 20, "\(story)")
        #expect(now.resident - before.resident < 8 << 20, "\(story)")
    }
}

extension JobQueue {
    fileprivate func count(_ state: JobState) throws -> Int {
        try read {
            try Int.fetchOne($0, sql: "SELECT count(*) FROM job WHERE state = ?", arguments: [state.rawValue]) ?? 0
        }
    }
}
