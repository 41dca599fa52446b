import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Budgets, forecasts and quiet hours, with the built program.
@Suite(.timeLimit(.minutes(30))) struct BudgetVerbTests {
    @Test func aBudgetEndsWithAVersionThatCanBeMadeAgain() async throws {
        guard let shop = try await Workshop.make() else { return }
        let manifest = shop.manifest(steps: 50_000).replacing(
            "run: {threads: 1}", with: "run: {threads: 1, budget: 20s}")
        try shop.write(manifest, to: "tone.yaml")
        let planned = try await shop.program.run("plan", "tone.yaml", "-n", "0")
        #expect(
            planned.status == 0 && planned.output.contains(" of training, from counted operations at "), "\(planned)")
        #expect(planned.output.contains("large products timed just now"), "\(planned)")
        #expect(planned.output.contains("training would be cut short for that"), "\(planned)")

        let run = try await shop.program.run("run", "tone.yaml", "--json")
        #expect(run.status == 0, "\(run)")
        let job = try #require(try await shop.jobs().last)
        let reason = job["reason"]?.word ?? ""
        #expect(job["state"] == "succeeded" && reason.hasPrefix("budget: ended at step "), "\(job)")
        #expect(reason.hasSuffix(" of 50000"), "\(job)")
        let training = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")["training"]
        #expect(
            training?["plannedSteps"] == 50_000 && reason.contains("step \(training?["steps"]?.text() ?? "?") of"))

        // What was cut is not the whole: the same job would train again, and now knows how long all of it takes.
        let again = try await shop.program.run("plan", "tone.yaml", "--json", "-n", "0").json()
        let verdicts = again["stages"]?.elements.map { "\($0["name"]?.word ?? "") \($0["verdict"]?.word ?? "")" } ?? []
        #expect(verdicts.prefix(2) == ["tokenize cached", "train runs"], "\(verdicts)")
        #expect(again["time"]?["source"] == "history" && again["time"]?["text"] == "from 1 earlier run", "\(again)")
        #expect(again["training"]?["speed_runs"] == 1, "\(again)")

        let reproduced = try await shop.program.run("reproduce", "tone:1")
        #expect(reproduced.status == 0, "\(reproduced)")
    }

    @Test func statusSaysThatItIsQuiet() async throws {
        guard let shop = try await Workshop.make() else { return }
        // From an hour ago until in some hours, by the machine's clock.
        func time(_ seconds: Double) -> String {
            var moment = time_t(Date().timeIntervalSince1970 + seconds)
            var parts = tm()
            gmtime_r(&moment, &parts)
            return String(format: "%02d:%02d", parts.tm_hour, parts.tm_min)
        }
        let settings = try shop.text("lorajobs.yaml")
        let quiet = "quiet: {hours: [\"\(time(-3600))-\(time(4 * 3600))\"], time_zone: UTC}\n"
        try shop.write(settings + quiet, to: "lorajobs.yaml")
        #expect(try await shop.program.run("config").output.contains("\(time(-3600))-\(time(4 * 3600))"))
        try await shop.startDaemon()
        try shop.drop(shop.manifest(steps: 5), as: "tone.yaml")
        let id = try await shop.id()
        try await shop.until("it waits for the end of the quiet hours") {
            try await shop.jobs().last?["reason"]?.word?.hasPrefix("Quiet(until ") == true
        }
        #expect(try await shop.program.run("explain", id).output.contains("quiet hours"))
        try await shop.endDaemon(SIGTERM)
        #expect(try await shop.jobs().last?["reason"]?.word?.hasPrefix("Quiet(until ") == true)
        try shop.write(settings, to: "lorajobs.yaml")
        try await shop.startDaemon()
        #expect(try await shop.ended()["state"] == "succeeded")
    }
}
