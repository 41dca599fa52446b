import Foundation
import PipelineSpec
import TestSupport
import Testing

/// Verbs that need no training, as a shell sees them: exit code, standard output, standard error.
@Suite(.timeLimit(.minutes(30))) struct WorkspaceVerbTests {
    private let temporary: TemporaryFolder
    private let program: Program

    init() throws {
        temporary = try TemporaryFolder()
        program = try Program(in: temporary.url)
    }

    /// The program in a new workspace with a base and some data.
    private func workspace() async throws -> Program {
        let made = try await program.run("init", "ws")
        #expect(made.status == 0)
        var inside = program
        inside.folder = temporary.url.appending(path: "ws")
        for (path, text) in [
            ("models/tiny/config.json", "{}"), ("models/tiny/model.safetensors", "{}"),
            ("models/tiny/tokenizer.json", "{}"), ("data/a.jsonl", "{\"text\": \"hello\"}\n"),
        ] {
            let url = inside.folder.appending(path: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: url)
        }
        return inside
    }

    private func write(_ text: String, to name: String, in program: Program) throws {
        try Data(text.utf8).write(to: program.folder.appending(path: name))
    }

    private func inbox(_ program: Program) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: program.folder.appending(path: "Jobs/inbox").path).sorted()
    }

    private let valid = "name: tone\nbase: models/tiny\ndata: data/a.jsonl\n"

    @Test func initMakesAWorkspaceOnce() async throws {
        let first = try await program.run("init", "ws")
        #expect(first.status == 0)
        #expect(first.output.contains("made Jobs/inbox/"))
        #expect(first.output.contains("made Pipelines/finetune.yaml"))
        let again = try await program.run("init", "ws")
        #expect(again.status == 0)
        #expect(again.output.isEmpty)
        #expect(again.talk.contains("already"))
    }

    @Test func initAllowsRoots() async throws {
        let outside = temporary.url.appending(path: "corpus")
        try FileManager.default.createDirectory(at: outside, withIntermediateDirectories: true)
        let made = try await program.run("init", "ws", "--allow-root", "corpus")
        #expect(made.status == 0)
        let config = try await program.run("config", "--root", "ws", "--json")
        let settings = try config.json()["settings"]
        guard case .array(let entries)? = settings else {
            throw Program.Unexpected(description: "no settings: \(config)")
        }
        let roots = entries.first { $0["key"] == "roots" }
        #expect(roots?["origin"] == "workspace")
        #expect(roots?["value"]?.text().contains("/corpus") == true)
        let missing = try await program.run("init", "ws", "--allow-root", "nowhere")
        #expect(missing.status == 66)
    }

    @Test func newWritesAManifestThatIsValid() async throws {
        let inside = try await workspace()
        let new = try await inside.run("new", "tone", "--base", "models/tiny", "--data", "data/*.jsonl")
        #expect(new.status == 0)
        #expect(new.output == "tone.yaml\n")
        let check = try await inside.run("validate", "tone.yaml", "--json")
        #expect(check.status == 0)
        #expect(try check.json()["valid"] == true)
        #expect(try check.json()["findings"] == .array([]))
        let again = try await inside.run("new", "tone", "--base", "models/tiny", "--data", "data/*.jsonl")
        #expect(again.status == 73)
        let wrong = try await inside.run("new", "other", "--base", "models/huge", "--data", "data/*.jsonl")
        #expect(wrong.status == 65)
        #expect(!FileManager.default.fileExists(atPath: inside.folder.appending(path: "other.yaml").path))
    }

    @Test func badManifestsAreReportedWithLineAndColumn() async throws {
        let inside = try await workspace()
        try write(valid + "adapter:\n  rank: eight\nlora_r: 3\n", to: "bad.yaml", in: inside)
        let report = try await inside.run("validate", "bad.yaml", "--json")
        #expect(report.status == 65)
        let json = try report.json()
        #expect(json["schema"] == 1)
        #expect(json["valid"] == false)
        guard case .array(let findings)? = json["findings"] else {
            throw Program.Unexpected(description: "no findings: \(report)")
        }
        #expect(findings.count == 2)
        #expect(findings.first?["line"] == 5 && findings.first?["column"] == 9)
        #expect(findings.first?["pointer"] == "/adapter/rank")
        #expect(findings.last?["code"] == "unknown_key")
        #expect(findings.last?["hint"]?.text().contains("adapter.rank") == true)

        let people = try await inside.run("validate", "bad.yaml")
        #expect(people.status == 65)
        #expect(people.output.contains("line 5, col 9") && people.output.contains("^^^^^"))

        // One bad file keeps all of them out.
        try write(valid, to: "good.yaml", in: inside)
        let submit = try await inside.run("submit", "good.yaml", "bad.yaml")
        #expect(submit.status == 65)
        #expect(submit.output.isEmpty)
        #expect(submit.talk.contains("line 5, col 9"))
        #expect(try inbox(inside).isEmpty)
    }

    @Test func submitDropsAFileNamedByThePrintedId() async throws {
        let inside = try await workspace()
        try write(valid, to: "tone.yaml", in: inside)
        let submit = try await inside.run("submit", "tone.yaml", "--json")
        #expect(submit.status == 0)
        #expect(submit.talk.contains("lorajobs daemon"))
        guard case .array(let jobs)? = try submit.json()["jobs"], case .string(let id)? = jobs.first?["id"] else {
            throw Program.Unexpected(description: "no id: \(submit)")
        }
        #expect(ULID(id) != nil)
        #expect(try inbox(inside) == ["\(id)__tone.yaml"])
        let file = inside.folder.appending(path: "Jobs/inbox/\(id)__tone.yaml")
        #expect(try String(contentsOf: file, encoding: .utf8) == valid)

        let changed = try await inside.run("submit", "tone.yaml", "--set", "train.epochs=1", "--hold", "--after", id)
        #expect(changed.status == 0)
        let second = changed.output.trimmingCharacters(in: .newlines)
        let text = try String(
            contentsOf: inside.folder.appending(path: "Jobs/inbox/\(second)__tone.yaml"), encoding: .utf8)
        let root = try DocumentReader().read(Data(text.utf8))
        #expect(root["train"]?["epochs"]?.json == 1)
        #expect(root["run"]?["hold"]?.json == true)
        #expect(root["run"]?["after"]?.json == .array([.string(id)]))

        // What no daemon has taken is known, and can be taken back.
        let show = try await inside.run("show", String(id.prefix(20)))
        #expect([66, 69].contains(show.status))
        let wait = try await inside.run("wait", id, "--timeout", "0.3")
        #expect(wait.status == 124)
        let cancel = try await inside.run("cancel", id)
        #expect(cancel.status == 0)
        #expect(try inbox(inside) == ["\(second)__tone.yaml"])
    }

    @Test func pathsOfTheCallersFolderAreNoticed() async throws {
        var inside = try await workspace()
        try write("name: tone\nbase: models/tiny\ndata: a.jsonl\n", to: "data/tone.yaml", in: inside)
        inside.folder = inside.folder.appending(path: "data")
        let submit = try await inside.run("submit", "tone.yaml")
        #expect(submit.status == 65)
        #expect(submit.talk.contains("warning: a.jsonl exists in"))
        #expect(submit.talk.contains("write data/a.jsonl"))
    }

    @Test func statusOfAFreshWorkspace() async throws {
        let inside = try await workspace()
        let status = try await inside.run("status")
        #expect(status.status == 0)
        #expect(status.output.contains("not running"))
        #expect(status.talk.isEmpty)
        let json = try await inside.run("status", "--all", "--json")
        #expect(try json.json()["schema"] == 1)
        #expect(try json.json()["daemon"]?["running"] == false)
        #expect(try json.json()["jobs"] == .array([]))
        // Settings that are wrong are told above everything else, and hide nothing.
        let settings = inside.folder.appending(path: "lorajobs.yaml")
        try Data("rots: []\n".utf8).write(to: settings)
        let wrong = try await inside.run("status")
        #expect(wrong.status == 0 && wrong.output.contains("lorajobs.yaml is wrong, line 1: "), "\(wrong)")
        unlink(settings.path)
        #expect(try await !inside.run("gc", "--help").output.contains("yaml   "))
        // Looking changes nothing.
        #expect(!FileManager.default.fileExists(atPath: inside.folder.appending(path: "Jobs/lorajobs.sqlite").path))

        var elsewhere = program
        #expect(try await elsewhere.run("status").status == 66)
        #expect(try await elsewhere.run("status", "--root", "ws").status == 0)
        #expect(try await elsewhere.run("--root", "ws", "status").status == 0)
        elsewhere.environment = ["LORAJOBS_ROOT": inside.folder.path]
        #expect(try await elsewhere.run("status").status == 0)
    }

    @Test(arguments: ["show", "logs", "cancel", "retry", "explain", "wait", "hold", "release", "status"])
    func unknownIds(verb: String) async throws {
        let inside = try await workspace()
        let outcome = try await inside.run(verb, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        #expect(outcome.status == 66)
        #expect(outcome.output.isEmpty)
        #expect(outcome.talk.contains("there is no job 01ARZ3NDEKTSV4RRFFQ69G5FAV"))
    }

    @Test func theStoreOfAFreshWorkspaceIsEmpty() async throws {
        let inside = try await workspace()
        let list = try await inside.run("adapters", "list", "--json")
        #expect(list.status == 0)
        #expect(try list.json() == .object(["schema": 1, "adapters": .array([])]))
        #expect(try await inside.run("adapters", "show", "tone").status == 66)
        #expect(try await inside.run("adapters", "show", "tone:first").status == 64)
        #expect(try await inside.run("adapters", "verify").status == 0)
    }

    @Test func exitCodes() async throws {
        let inside = try await workspace()
        try write(valid, to: "tone.yaml", in: inside)
        #expect(try await inside.run("--help").status == 0)
        #expect(try await inside.run("--version").output.hasPrefix("lorajobs "))
        #expect(try await inside.run("frobnicate").status == 64)
        #expect(try await inside.run("submit").status == 64)
        #expect(try await inside.run("status", "--json", "--watch").status == 64)
        #expect(try await inside.run("submit", "tone.yaml", "--timeout", "5s").status == 64)
        #expect(try await inside.run("submit", "tone.yaml", "--set", "train.epoch=1").status == 64)
        #expect(try await inside.run("submit", "missing.yaml").status == 66)
        #expect(try await inside.run("adapters", "export", "tone", "--for", "wordperfect").status == 64)
        #expect(try await inside.run("stage", "nowhere").status != 0)
        try write("queues: [1, 2]\n", to: "lorajobs.yaml", in: inside)
        let config = try await inside.run("config")
        #expect(config.status == 78)
        #expect(config.talk.contains("lorajobs.yaml"))
        // The queue can be seen all the same.
        #expect(try await inside.run("status").status == 0)
    }

    @Test func aReaderThatLeavesIsNoCrash() async throws {
        let inside = try await workspace()
        var shell = inside
        shell = try Program(in: inside.folder)
        let script = "'\(shell.executable.path)' schema | head -c 10 >/dev/null; echo ${PIPESTATUS[0]}"
        let running = try Running(
            URL(filePath: "/bin/bash"), ["-c", script], in: inside.folder, environment: [:], input: "")
        #expect(try await running.outcome().output == "0\n")
        let full = try Running(
            URL(filePath: "/bin/bash"), ["-c", "'\(shell.executable.path)' schema > /dev/full"], in: inside.folder,
            environment: [:], input: "")
        #expect(try await full.outcome().status == 74)
    }

    @Test func twoDaemonsOneStops() async throws {
        let inside = try await workspace()
        let daemon = try inside.start(["daemon"])
        var isUp = false
        for _ in 0..<200 where !isUp {
            isUp = try await inside.run("status", "--json").json()["daemon"]?["running"] == true
        }
        #expect(isUp)
        let second = try await inside.run("daemon")
        #expect(second.status == 75)
        #expect(second.talk.contains("\(daemon.pid)"))

        // Held jobs show what the verbs do to them, and run nothing.
        try write(valid, to: "tone.yaml", in: inside)
        let id = try await inside.run("submit", "tone.yaml", "--hold").output.trimmingCharacters(in: .newlines)
        var state: JSONValue?
        for _ in 0..<200 where state == nil {
            let jobs = try await inside.run("status", "--json").json()["jobs"]
            if case .array(let all)? = jobs { state = all.first { $0["id"] == .string(id) }?["state"] }
        }
        #expect(state == "held")
        #expect(try await inside.run("prioritize", id, "50").status == 0)
        #expect(try await inside.run("retry", id).status == 64)
        #expect(try await inside.run("wait", id, "--timeout", "0.2").status == 124)
        let show = try await inside.run("show", id, "--json")
        #expect(try show.json()["job"]?["priority"] == 50)
        #expect(try await inside.run("cancel", id).status == 0)
        #expect(try await inside.run("wait", id).status == 2)
        #expect(try await inside.run("logs", id).status == 0)

        // What is dropped by hand and is wrong gets its report.
        try write("name: [\n", to: "wrong.yaml", in: inside)
        try FileManager.default.moveItem(
            at: inside.folder.appending(path: "wrong.yaml"), to: inside.folder.appending(path: "Jobs/inbox/wrong.yaml"))
        var rejected: [JSONValue] = []
        for _ in 0..<400 where rejected.isEmpty {
            if case .array(let all)? = try await inside.run("inbox", "errors", "--json").json()["rejected"] {
                rejected = all
            }
        }
        #expect(rejected.first?["report"]?["valid"] == false)

        daemon.signal(SIGTERM)
        #expect(try await daemon.outcome().status == 0)
    }
}
