import Foundation
import PipelineSpec
import TestSupport
import Testing

/// What another user may not do to a job, and what can never run; with real processes.
@Suite(.timeLimit(.minutes(30))) struct OwnershipTests {
    @Test func anotherUserChangesNothing() async throws {
        let setpriv = URL(filePath: "/usr/bin/setpriv")
        guard getuid() == 0, FileManager.default.isExecutableFile(atPath: setpriv.path) else {
            FileHandle.standardError.write(
                Data("*** SKIPPED *** \(#function): acting as another user takes root and setpriv\n".utf8))
            return
        }
        guard let shop = try await Workshop.make() else { return }
        try shop.write(shop.manifest(), to: "tone.yaml")
        // Else nobody else could read what the daemon makes.
        try shop.write(try shop.text("lorajobs.yaml") + "permissions: shared\n", to: "lorajobs.yaml")
        try await shop.startDaemon()
        let submit = try await shop.program.run("submit", "tone.yaml", "--hold")
        #expect(submit.status == 0, "\(submit)")
        let id = try await shop.id()
        // The rights of files would stop them first: here they stop nobody.
        for path in [
            "", "Artifacts", "Jobs", "Jobs/inbox", "Jobs/schedules", "Jobs/lorajobs.sqlite", "Jobs/lorajobs.sqlite-wal",
            "Jobs/lorajobs.sqlite-shm",
        ] {
            let url = path.isEmpty ? shop.root : shop.url(path)
            if FileManager.default.fileExists(atPath: url.path) { #expect(chmod(url.path, 0o777) == 0) }
        }
        #expect(chmod(shop.root.deletingLastPathComponent().path, 0o755) == 0)
        let copy = shop.root.deletingLastPathComponent().appending(path: "lorajobs")
        try FileManager.default.copyItem(at: shop.program.executable, to: copy)
        #expect(chmod(copy.path, 0o755) == 0)
        func asNobody(_ arguments: String...) async throws -> Program.Outcome {
            let process = try Running(
                setpriv,
                ["--reuid", "65534", "--regid", "65534", "--clear-groups", copy.path] + arguments, in: shop.root,
                environment: [:], input: "")
            return try await process.outcome()
        }
        let seen = try await asNobody("status", "--json")
        #expect(seen.status == 0 && seen.output.contains(id), "\(seen)")
        for verb in [["release", id], ["cancel", id], ["prioritize", id, "9"], ["queue", "pause", "default"]] {
            let refused = try await Running(
                setpriv, ["--reuid", "65534", "--regid", "65534", "--clear-groups", copy.path] + verb, in: shop.root,
                environment: [:], input: ""
            ).outcome()
            #expect(refused.status == 73, "\(verb): \(refused)")
            #expect(refused.talk.contains("belong") && refused.talk.contains("root"), "\(verb): \(refused)")
        }
        let job = try #require(try await shop.jobs().first)
        #expect(job["state"] == "held" && job["priority"] == 0 && job["owner"] == "root", "\(job)")
        #expect(try await shop.program.run("release", id).status == 0)
    }

    @Test func whatCanNeverFitIsRefusedEverywhere() async throws {
        guard let shop = try await Workshop.make() else { return }
        let settings = try shop.text("lorajobs.yaml")
        try shop.write(settings + "memory: 1GiB\nthreads: 2\n", to: "lorajobs.yaml")
        let large = shop.manifest("large").replacing("run: {threads: 1}", with: "run: {threads: 3, memory: 2GiB}")
        try shop.write(large, to: "large.yaml")
        for verb in ["validate", "submit", "run"] {
            let refused = try await shop.program.run(verb, "large.yaml", "--json")
            #expect(refused.status == 65, "\(verb): \(refused)")
            let findings = try refused.json()["findings"]?.elements ?? []
            #expect(findings.map { $0["code"] } == ["does_not_fit", "does_not_fit"], "\(verb): \(refused)")
            #expect(findings.last?["message"]?.word?.contains("2GiB") == true, "\(refused)")
        }
        try shop.drop(large, as: "large.yaml")
        try await shop.startDaemon()
        try await shop.until("it is rejected") {
            try await shop.program.run("inbox", "errors", "--json").output.contains("large.yaml")
        }
        #expect(try await shop.jobs().isEmpty)
    }
}
