import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Jobs that recur, as people handle them.
@Suite(.timeLimit(.minutes(30))) struct ScheduleVerbTests {
    @Test func schedulesAreShownPausedAndRunByHand() async throws {
        guard let shop = try await Workshop.make() else { return }
        let none = try await shop.program.run("schedule")
        #expect(none.status == 0 && none.output == "" && none.talk.contains("there are no schedules"), "\(none)")
        let when = "schedule: {cron: \"30 2 * * *\", time_zone: Australia/Lord_Howe}\n"
        try shop.write(shop.manifest() + when, to: "Jobs/schedules/nightly.yaml")
        let valid = try await shop.program.run("validate", "Jobs/schedules/nightly.yaml")
        #expect(valid.status == 0 && valid.output.contains("valid; next due at"), "\(valid)")
        // The same file has no place in the inbox.
        let submit = try await shop.program.run("submit", "Jobs/schedules/nightly.yaml")
        #expect(submit.status == 65 && submit.talk.contains("belongs in Jobs/schedules"), "\(submit)")

        // All of it with the daemon down, and before there is a queue.
        func nightly() async throws -> JSONValue {
            let list = try await shop.program.run("schedule", "ls", "--json").json()
            return try #require(list["schedules"]?.elements.first { $0["name"] == "nightly" })
        }
        let first = try await nightly()
        #expect(first["state"] == "active" && first["last"] == .null, "\(first)")
        #expect(first["next"]?.elements.count == 3)
        #expect(first["next"]?.elements.first?["occurrence"]?.word?.hasSuffix("T02:30[Australia/Lord_Howe]") == true)
        let next = try await shop.program.run("schedule", "next", "nightly", "-n", "7", "--json").json()
        #expect(next["next"]?.elements.count == 7)
        let status = try await shop.program.run("status")
        #expect(status.output.contains("schedule    next nightly at "), "\(status)")
        #expect(try await shop.program.run("schedule", "pause", "nightly").status == 0)
        #expect(try await nightly()["state"] == "paused")
        #expect(try await shop.program.run("status", "--json").json()["next_schedule"] == .null)
        let resumed = try await shop.program.run("schedule", "resume", "nightly.yaml", "--json").json()
        #expect(resumed["state"] == "active" && resumed["name"] == "nightly")
        let unknown = try await shop.program.run("schedule", "pause", "nighty")
        #expect(unknown.status == 66 && unknown.talk.contains("there are nightly"), "\(unknown)")

        let run = try await shop.program.run("schedule", "run-now", "nightly", "--json").json()
        let id = try #require(run["jobs"]?.elements.first?["id"]?.word)
        #expect(run["outcome"] == "accepted")
        try await shop.startDaemon()
        let job = try await shop.ended()
        #expect(job["id"] == .string(id) && job["adapter"] == "tone:1", "\(job)")
        #expect(try await nightly()["last"]?["job"] == .string(id))

        // The daemon says beside a file what is wrong with it.
        try shop.write(shop.manifest() + "schedule: 30 25 * * *\n", to: "Jobs/schedules/broken.yaml")
        try await shop.until("the report is there") {
            try shop.names(in: "Jobs/schedules").contains("broken.yaml.error.json")
        }
        let broken = try await shop.program.run("schedule", "run-now", "broken")
        #expect(broken.status == 65 && broken.talk.contains("expected 0…23"), "\(broken)")
        let list = try await shop.program.run("schedule", "ls")
        #expect(list.output.contains("broken") && list.output.contains("accepted by hand \(id)"), "\(list)")
    }

    /// The lines that ship for the system's cron do what they say.
    @Test func linesForCronDropJobs() async throws {
        guard let shop = try await Workshop.make() else { return }
        let example = TestData.packageRoot.appending(path: "Jobs/service/crontab.example")
        let lines = try String(contentsOf: example, encoding: .utf8).split(separator: "\n").filter {
            $0.contains(" * * ") && !$0.hasPrefix("#")
        }
        #expect(lines.count == 3)
        for name in ["nightly", "weekly"] { try shop.write(shop.manifest(name), to: "\(name).yaml") }
        let folder = shop.program.executable.deletingLastPathComponent().path
        for line in lines {
            let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            _ = try CronExpression(words[0..<5].joined(separator: " "))
            let shell = Process()
            shell.executableURL = URL(filePath: "/bin/sh")
            shell.arguments = ["-c", String(words[5])]
            shell.environment = ["PATH": "\(folder):/usr/bin:/bin", "ROOT": shop.root.path]
            try shell.run()
            shell.waitUntilExit()
            #expect(shell.terminationStatus == 0, "\(line)")
        }
        let names = try shop.names(in: "Jobs/inbox").filter { !$0.hasPrefix(".") }
        #expect(names.count == 3 && names.contains("nightly.yaml"), "\(names)")
        let waiting = try await shop.program.run("status", "--json").json()["inbox"]?["waiting"]
        #expect(waiting == .integer(3))
    }

    /// Restarting the service must not end what trains.
    @Test func unitsLeaveTheStagesAlone() throws {
        for name in ["lorajobs.service", "lorajobs-user.service"] {
            let unit = TestData.packageRoot.appending(path: "Jobs/service/\(name)")
            let lines = try String(contentsOf: unit, encoding: .utf8).split(separator: "\n")
            #expect(lines.contains("KillMode=process") && lines.contains("Restart=on-failure"), "\(name)")
            #expect(lines.contains { $0.hasPrefix("ExecStart=") && $0.hasSuffix(" daemon") }, "\(name)")
        }
    }
}
