import Foundation
import TestSupport
import Testing

@testable import PipelineSpec

@Suite struct WorkspaceTests {
    @Test func createLaysDownTheFoldersOnce() throws {
        let folder = try TemporaryFolder()
        let workspace = Workspace(root: folder.url.appending(path: "new"))
        #expect(!workspace.exists)
        let made = try workspace.create()
        #expect(
            made == [
                "Jobs/inbox/", "Jobs/claimed/", "Jobs/accepted/", "Jobs/rejected/", "Jobs/schedules/", "Jobs/runs/",
                "Pipelines/", "Artifacts/", "Pipelines/finetune.yaml", "Pipelines/pretrain.yaml",
            ])
        #expect(workspace.exists)
        let mode = try FileManager.default.attributesOfItem(atPath: workspace.claimed.path)[.posixPermissions] as? Int
        #expect(mode == 0o700)
        try Data("mine".utf8).write(to: workspace.pipeline("finetune"))
        #expect(try workspace.create() == [])
        #expect(try String(contentsOf: workspace.pipeline("finetune"), encoding: .utf8) == "mine")
    }

    @Test func places() throws {
        let workspace = Workspace(root: URL(filePath: "/nowhere/ws"))
        #expect(workspace.database.path == "/nowhere/ws/Jobs/lorajobs.sqlite")
        #expect(workspace.daemonLock.path == "/nowhere/ws/Jobs/.daemon.lock")
        #expect(workspace.settings.path == "/nowhere/ws/lorajobs.yaml")
        let run = workspace.run(job: "J", stage: "train", attempt: 2)
        #expect(run.url.path == "/nowhere/ws/Jobs/runs/J/train.2")
        #expect(run.result.path == "/nowhere/ws/Jobs/runs/J/train.2/result.json")
        #expect(workspace.relativePath(workspace.artifacts) == "Artifacts")
        #expect(workspace.relativePath(URL(filePath: "/etc/passwd")) == "/etc/passwd")
    }

    @Test func discovery() throws {
        let folder = try TemporaryFolder()
        let workspace = Workspace(root: folder.url.appending(path: "ws"))
        try workspace.create()
        let deep = workspace.root.appending(path: "data/deep", directoryHint: .isDirectory)
        try FileManager.default.createDirectory(at: deep, withIntermediateDirectories: true)
        #expect(try Workspace.locate(environment: [:], from: deep) == workspace)
        #expect(try Workspace.locate(environment: [:], from: workspace.root) == workspace)
        #expect(
            try Workspace.locate(environment: ["LORAJOBS_ROOT": workspace.root.path], from: folder.url) == workspace)
        #expect(
            try Workspace.locate(explicit: "ws", environment: ["LORAJOBS_ROOT": "/x"], from: folder.url) == workspace)
        #expect(throws: SpecError.self) { try Workspace.locate(environment: [:], from: folder.url) }
        #expect(throws: SpecError.self) { try Workspace.locate(explicit: "none", environment: [:], from: folder.url) }
        // An explicit name never falls back to what lies around.
        #expect(throws: SpecError.self) { try Workspace.locate(environment: ["LORAJOBS_ROOT": "/x"], from: deep) }
    }

    @Test func settingsWithTheirOrigins() throws {
        let settings = try WorkspaceSettings(
            Data(
                """
                roots: [/data, "/mnt/models"]
                queues: {night: {max_jobs: 2, priority: -5}}
                tenants: {acme: {weight: 2.5, owners: [4001, nobody]}, guest: {}}
                threads: 6
                memory: 20GiB
                retention: {keep_last: 5, cache: unlimited, runs: 3d, trash: 0s}
                inbox: {settle: 500s, require_end_marker: true, max_bytes: 64KiB}
                defaults: {train: {epochs: 1}}
                """.utf8))
        #expect(settings.roots == ["/data", "/mnt/models"])
        #expect(settings.queues["night"]?.maxJobs == 2)
        #expect(settings.queues["default"]?.maxJobs == 1)
        #expect(settings.queues["night"]?.priority == -5)
        #expect(settings.threads == 6 && settings.memoryBytes == 20 << 30)
        #expect(settings.tenants["acme"]?.weight == 2.5 && settings.tenants["guest"]?.weight == 1)
        #expect(settings.tenants["acme"]?.owners == ["4001", "nobody"])
        #expect(settings.tenants["acme"]?.admits(4001) == true && settings.tenants["acme"]?.admits(0) == true)
        #expect(settings.tenants["acme"]?.admits(4002) == false && settings.tenants["guest"]?.admits(4002) == true)
        #expect(settings.inbox.settleSeconds == 500)
        #expect(settings.retention.keepLast == 5 && settings.retention.keepDaily == 14)
        #expect(settings.retention.cacheBytes == nil && settings.retention.runSeconds == 259_200)
        #expect(settings.retention.trashSeconds == 0)
        #expect(settings.inbox.maxBytes == 65_536)
        let all = Dictionary(uniqueKeysWithValues: settings.all.map { ($0.key, $0) })
        #expect(all["inbox.max_bytes"] == .init(key: "inbox.max_bytes", value: "64KiB", origin: .workspace))
        #expect(all["queues.night.max_jobs"]?.origin == .workspace)
        #expect(all["queues.default.max_jobs"]?.origin == .default)
        #expect(all["memory"] == .init(key: "memory", value: "20GiB", origin: .workspace))
        #expect(
            all["tenants.acme.weight"] == .init(key: "tenants.acme.weight", value: .number(2.5), origin: .workspace))
        #expect(
            WorkspaceSettings().all.first { $0.key == "threads" }
                == .init(key: "threads", value: "auto", origin: .default))
        #expect(all["defaults.train.epochs"] == .init(key: "defaults.train.epochs", value: 1, origin: .workspace))
        #expect(all["defaults.adapter.rank"] == .init(key: "defaults.adapter.rank", value: 8, origin: .default))
        #expect(try WorkspaceSettings(Data("# nothing yet\n".utf8)).all == WorkspaceSettings().all)
    }

    @Test(arguments: [
        ("rots: []", [Place("unknown_key", 1, 1)]), ("roots: [data]", [Place("invalid_value", 1, 9)]),
        ("inbox: {setle: 1s}", [Place("unknown_key", 1, 9)]), ("inbox: {settle: 2}", [Place("wrong_type", 1, 17)]),
        ("inbox: {max_bytes: 2MiB}", [Place("out_of_range", 1, 20)]),
        ("inbox: {max_bytes: 9}", [Place("wrong_type", 1, 20)]),
        ("retention: {keep: 9}", [Place("unknown_key", 1, 13)]),
        ("retention: {keep_last: -1}", [Place("out_of_range", 1, 24)]),
        ("retention: {runs: 9}", [Place("wrong_type", 1, 19)]),
        ("queues: {a b: {}}", [Place("invalid_value", 1, 10)]),
        ("queues: {a: {max_jobs: 0}}", [Place("out_of_range", 1, 24)]),
        ("queues: {a: 2}", [Place("wrong_type", 1, 13)]), ("queues: {a: {jobs: 2}}", [Place("unknown_key", 1, 14)]),
        ("notify: {a b: {}}", [Place("invalid_value", 1, 10)]), ("notify: {a: {}}", [Place("missing_key", 1, 10)]),
        ("notify: {a: {webhook: ftp://x}}", [Place("invalid_value", 1, 14)]),
        ("notify: {a: {webhook: https://u:p@x/}}", [Place("invalid_value", 1, 14)]),
        ("notify: {a: {webhook: http://x, folder: y}}", [Place("conflict", 1, 33)]),
        ("notify: {a: {folder: y, token_env: T}}", [Place("conflict", 1, 25)]),
        ("notify: {a: {webhook: http://x, token_env: T, token_file: t}}", [Place("conflict", 1, 47)]),
        ("notify: {a: {webhook: http://x, secret_env: a b}}", [Place("invalid_value", 1, 45)]),
        ("notify: {a: {folder: y, on: [finish]}}", [Place("invalid_value", 1, 30)]),
        ("notify: {a: {folder: y, to: z}}", [Place("unknown_key", 1, 25)]),
        ("notify: {a: {webhook: http://x, timeout: 10}}", [Place("wrong_type", 1, 42)]),
        ("notify: {a: {folder: y, retries: 101}}", [Place("out_of_range", 1, 34)]),
        ("tenants: {a: {weight: 0}}", [Place("out_of_range", 1, 23)]),
        ("tenants: {a: {owner: x}}", [Place("unknown_key", 1, 15)]), ("threads: 0", [Place("out_of_range", 1, 10)]),
        ("memory: 20", [Place("wrong_type", 1, 9)]), ("memory: 0B", [Place("out_of_range", 1, 9)]),
        ("queues: {a: {priority: 101}}", [Place("out_of_range", 1, 24)]),
        ("defaults: {name: x}", [Place("invalid_value", 1, 12)]),
        ("defaults: {adapter: {rank: 0}}", [Place("out_of_range", 1, 28)]),
        ("defaults: {lora_r: 8}", [Place("unknown_key", 1, 12)]), ("[]", [Place("wrong_type", 1, 1)]),
        ("roots: &a []", [Place("anchor", 1, 8)]),
    ])
    func settingsAreStrict(_ text: String, _ places: [Place]) throws {
        let error = try #require(throws: InvalidFile.self) { try WorkspaceSettings(Data(text.utf8)) }
        #expect(error.findings.map(Place.init) == places)
    }

    @Test func targetsOfNotices() throws {
        let text = """
            notify:
              team: {webhook: "https://hooks.example.org:8443/services/T0/B0?x=y", token_file: secrets/token, timeout: 3s}
              chat: {webhook_env: CHAT_URL, secret_env: KEY, on: [failed, gate_failed], retries: 0}
              board: {folder: told, on: []}
            """
        let settings = try WorkspaceSettings(Data(text.utf8))
        let root = FileManager.default.temporaryDirectory.appending(path: "w", directoryHint: .isDirectory)
        let targets = settings.noticeTargets(in: Workspace(root: root))
        let path = root.path(percentEncoded: false)
        #expect(targets["team"]?.token == .file(path + "secrets/token"))
        #expect(targets["team"]?.timeoutSeconds == 3 && targets["team"]?.events == NoticeEvent.allCases)
        #expect(targets["chat"]?.place == .webhook(address: .secret(.variable("CHAT_URL"))))
        #expect(targets["chat"]?.events == [.failed, .gateFailed] && targets["chat"]?.retries == 0)
        #expect(targets["chat"]?.signingKey == .variable("KEY"))
        #expect(targets["board"]?.place == .folder(path + "told") && targets["board"]?.events == [])
        // What may be a secret is printed nowhere.
        #expect(targets["team"]?.summary == "https://hooks.example.org:8443/…")
        for setting in settings.all { #expect(!setting.value.text().contains("services"), "\(setting)") }
        #expect(settings.all.contains { $0.key == "notify.team.webhook" && $0.origin == .workspace })
    }

    @Test func aManifestNamesTargetsAndHoldsNone() throws {
        let fixture = try WorkspaceFixture.shared.get()
        let settings = "notify: {team: {webhook: https://example.org}, board: {folder: told}}\n"
        let start = "name: x\nbase: models/tiny\ndata: data/a.jsonl\n"
        func notify(_ text: String) throws -> JobManifest.Notify? {
            try fixture.resolve(start + text, settings: settings).manifest.notify
        }
        #expect(try notify("") == nil && notify("notify: null\n") == nil)
        var expected = JobManifest.Notify()
        expected.to = ["team"]
        #expect(try notify("notify: team\n") == expected)
        expected.to = ["team", "board"]
        #expect(try notify("notify: [team, board]\n") == expected)
        expected.on = [.failed]
        #expect(try notify("notify: {to: [team, board], on: failed}\n") == expected)
        func places(_ text: String) throws -> [Place] {
            try fixture.findings(start + text, settings: settings).map(Place.init)
        }
        #expect(try places("notify: [team, bored]\n") == [Place("unknown_target", 4, 16)])
        #expect(try places("notify: {to: https://evil.example}\n") == [Place("unknown_target", 4, 14)])
        #expect(try places("notify: {webhook: https://evil.example}\n") == [Place("unknown_key", 4, 10)])
        #expect(try places("notify: {to: team, on: rejected}\n") == [Place("invalid_value", 4, 24)])
        #expect(try places("notify: 4\n") == [Place("wrong_type", 4, 9)])
        let own = try fixture.findings(start, settings: "defaults: {notify: team}\n")
        #expect(own.map(\.code) == [.unknownTarget])
    }

    @Test func aDefaultWithAMissingPathIsReportedAgainstTheSettings() throws {
        let fixture = try WorkspaceFixture.shared.get()
        let findings = try fixture.findings(
            "name: x\ndata: data/a.jsonl\n", settings: "# c\ndefaults:\n  base: models/none\n")
        #expect(findings.map(Place.init) == [Place("path_not_found", nil, nil)])
        #expect(findings[0].message.hasPrefix("lorajobs.yaml, line 3: base: there is no "))
    }

    @Test(
        arguments: [
            nil, "# c\nroots: [/a]\nqueues: {}\n", "roots:\n  - /a\n  # b\n  - /c\n", "roots: []\n", "inbox: {}\n",
            "inbox: {}", "roots:\n- /a\n",
        ] as [String?])
    func rootsAreAdded(_ text: String?) throws {
        let before = try text.map { try WorkspaceSettings(Data($0.utf8)).roots } ?? []
        let data = try WorkspaceSettings.adding(root: "/new folder", to: text.map { Data($0.utf8) })
        #expect(try WorkspaceSettings(data).roots.sorted() == (before + ["/new folder"]).sorted())
        #expect(try WorkspaceSettings.adding(root: "/new folder", to: data) == data)
        if text?.contains("# c") == true { #expect(String(decoding: data, as: UTF8.self).contains("# c")) }
    }

    @Test func addingARootLeavesBrokenSettingsAlone() {
        #expect(throws: InvalidFile.self) { try WorkspaceSettings.adding(root: "/x", to: Data("rots: 1\n".utf8)) }
    }
}
