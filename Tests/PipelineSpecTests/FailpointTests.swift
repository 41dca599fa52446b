import Foundation
import Synchronization
import TestSupport
import Testing

@testable import PipelineSpec

@Suite struct FailpointTests {
    @Test func ordersAreRead() throws {
        #expect(try FailpointOrder.list("") == [])
        let orders = try FailpointOrder.list("intake.claimed=kill@2; store.blob_linked=enospc;file.renamed=delay:20@3+")
        #expect(orders.map(\.point) == [.intakeClaimed, .blobLinked, .fileRenamed])
        #expect(orders.map(\.action) == [.kill, .system(ENOSPC), .delay(milliseconds: 20)])
        #expect((1...4).map(orders[0].applies) == [false, true, false, false])
        #expect((1...4).map(orders[1].applies) == [true, true, true, true])
        #expect((1...4).map(orders[2].applies) == [false, false, true, true])
    }

    @Test(arguments: [
        "intake.claimed", "intake.claimed=", "intake.claimd=kill", "intake.claimed=explode", "intake.claimed=kill@0",
        "intake.claimed=kill@x", "intake.claimed=kill:3", "intake.claimed=delay:soon", "=kill",
    ])
    func whatCannotBeUnderstoodIsRefused(_ text: String) {
        let error = #expect(throws: SpecError.self) { try FailpointOrder.list(text) }
        #expect(error?.code == .key)
        #expect(error?.description.contains(text) == true)
    }

    @Test func aHandlerHoldsForItsBodyOnly() throws {
        let seen = Mutex<[Failpoint]>([])
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "file")
        try Failpoint.withHandler({ point in seen.withLock { $0.append(point) } }) {
            try AtomicFile.write(Data("a".utf8), to: file)
        }
        try AtomicFile.write(Data("b".utf8), to: file)
        #expect(seen.withLock { $0 } == [.fileWritten, .fileFlushed, .fileRenamed])
    }

    @Test func hitsAreCountedOverProcessesWithALog() async throws {
        let folder = try TemporaryFolder()
        let (log, file) = (folder.url.appending(path: "log").path, folder.url.appending(path: "file").path)
        // The first process comes by once, the second is killed at its first hit: the second of both.
        await #expect(processExitsWith: .success) { [log = log as String, file = file as String] in
            try Failpoint.arm([
                "LORAJOBS_FAILPOINTS": "file.renamed=kill@2", "LORAJOBS_FAILPOINT_LOG": log,
            ])
            try AtomicFile.write(Data("a".utf8), to: URL(filePath: file))
            exit(0)
        }
        await #expect(processExitsWith: .signal(SIGKILL)) { [log = log as String, file = file as String] in
            try Failpoint.arm([
                "LORAJOBS_FAILPOINTS": "file.renamed=kill@2", "LORAJOBS_FAILPOINT_LOG": log,
            ])
            try AtomicFile.write(Data("b".utf8), to: URL(filePath: file))
        }
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "b")
        let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        #expect(lines.count { $0.hasPrefix("file.renamed ") } == 2)
    }

    @Test func failuresAreWhatTheSystemSays() async throws {
        await #expect(processExitsWith: .exitCode(3)) {
            try Failpoint.arm(["LORAJOBS_FAILPOINTS": "file.written=enospc@1;file.written=eio@2;file.written=throw@3"])
            var codes: [Int32?] = []
            for _ in 1...4 {
                do {
                    try AtomicFile.write(Data(), to: URL(filePath: "/tmp/lorajobs-test-\(getpid())"))
                    unlink("/tmp/lorajobs-test-\(getpid())")
                    codes.append(0)
                } catch let error as SpecError {
                    codes.append(error.systemError)
                } catch is FailpointReached {
                    codes.append(-1)
                }
            }
            exit(codes == [ENOSPC, EIO, -1, 0] ? 3 : 4)
        }
    }
}
