import Foundation
import PipelineSpec
import TestSupport
import Testing

/// `doctor` and `backup` as a shell sees them.
@Suite(.timeLimit(.minutes(30))) struct DoctorVerbTests {
    private let temporary: TemporaryFolder
    private let program: Program

    init() throws {
        temporary = try TemporaryFolder()
        program = try Program(in: temporary.url)
    }

    private func codes(_ outcome: Program.Outcome, _ verdict: String) throws -> [String] {
        guard case .array(let checks)? = try outcome.json()["checks"] else {
            throw Program.Unexpected(description: "no checks: \(outcome)")
        }
        return checks.filter { $0["verdict"] == .string(verdict) }.compactMap {
            if case .string(let code)? = $0["code"] { code } else { nil }
        }
    }

    @Test func aWorkspaceIsLookedOverRepairedAndRebuilt() async throws {
        #expect(try await program.run("init", "ws").status == 0)
        var inside = program
        inside.folder = temporary.url.appending(path: "ws")
        let sound = try await inside.run("doctor", "--quick", "--json")
        #expect(try sound.status == 0 && codes(sound, "problem") == [], "\(sound)")
        let text = try await inside.run("doctor")
        #expect(text.status == 0 && text.output.contains("cpu  ") && text.output.contains("kernels"), "\(text)")

        // Settings that are wrong are a problem, and hide no other check.
        let settings = inside.folder.appending(path: "lorajobs.yaml")
        let before = try? Data(contentsOf: settings)
        try Data("rots: []\n".utf8).write(to: settings)
        let wrong = try await inside.run("doctor", "--json")
        #expect(try wrong.status == 78 && codes(wrong, "problem") == ["settings"], "\(wrong)")
        if let before { try before.write(to: settings) } else { unlink(settings.path) }

        // One manifest is rejected by a daemon, which makes the queue.
        try Data("nonsense: 1\n".utf8).write(to: inside.folder.appending(path: "Jobs/inbox/.bad"))
        #expect(
            rename(
                inside.folder.appending(path: "Jobs/inbox/.bad").path,
                inside.folder.appending(path: "Jobs/inbox/bad.yaml").path) == 0)
        let daemon = try inside.start(["daemon"])
        for _ in 0..<600 where try await inside.run("inbox", "errors").output.isEmpty {
            try await Task.sleep(for: .milliseconds(100))
        }
        let busy = try await inside.run("doctor", "--repair")
        #expect(busy.status == 75, "\(busy)")
        let backup = try await inside.run("backup")
        #expect(backup.status == 0 && backup.output.contains("lorajobs.sqlite.backup-"), "\(backup)")
        let named = try await inside.run("backup", "copy.sqlite", "--json")
        #expect(named.status == 0, "\(named)")
        #expect(try await inside.run("backup", "copy.sqlite").status == 73)
        daemon.signal(SIGTERM)
        _ = try await daemon.outcome()

        // Lost altogether: every verb says so, and none makes an empty one.
        let lost = inside.folder.appending(path: "lost")
        for ending in ["", "-wal", "-shm"] {
            rename(inside.folder.appending(path: "Jobs/lorajobs.sqlite\(ending)").path, lost.path + ending)
        }
        try Data("name: x\n".utf8).write(to: inside.folder.appending(path: "x.yaml"))
        for verb in [
            ["daemon"], ["status"], ["submit", "x.yaml"], ["show", "01"], ["queue", "pause", "default"],
            ["inbox", "errors"],
            ["retry", "01"], ["backup"], ["doctor", "--repair"],
        ] {
            let told = try await inside.run(verb)
            #expect(told.status == 74 && told.talk.contains("lorajobs doctor --rebuild"), "\(verb): \(told)")
        }
        let gone = try await inside.run("doctor", "--json")
        #expect(try gone.status == 74 && codes(gone, "problem") == ["database"], "\(gone)")
        for ending in ["", "-wal", "-shm"] {
            rename(lost.path + ending, inside.folder.appending(path: "Jobs/lorajobs.sqlite\(ending)").path)
        }

        let refused = try await inside.run("doctor", "--rebuild")
        #expect(refused.status == 64 && refused.talk.contains("sound"), "\(refused)")
        let database = inside.folder.appending(path: "Jobs/lorajobs.sqlite")
        try Data(repeating: 0x5A, count: 8192).write(to: database)
        let damaged = try await inside.run("doctor", "--quick", "--json")
        #expect(try damaged.status == 74 && codes(damaged, "problem").contains("database.integrity"), "\(damaged)")
        let start = try await inside.run("daemon")
        #expect(start.status == 74 && start.talk.contains("lorajobs doctor --rebuild"), "\(start)")
        for arguments in [["doctor", "--rebuild", "--json"], ["doctor", "--rebuild", "--from-backup", "--json"]] {
            let rebuilt = try await inside.run(arguments)
            #expect(rebuilt.status == 0, "\(rebuilt)")
            #expect(try rebuilt.json()["rebuilt"]?["moved_away"]?.text().contains(".damaged-") == true, "\(rebuilt)")
            #expect(try await inside.run("inbox", "errors").output.contains("nonsense"))
            try Data(repeating: 0x5A, count: 8192).write(to: database)
        }
    }
}
