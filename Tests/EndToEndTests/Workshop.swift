import Foundation
import PipelineSpec
import TestSupport
import Testing

/// A temporary workspace with real data, in which a small model is really trained, and the daemon that works in it.
///
/// Whatever was started in its folder ends with this object, and also when the test process is killed.
final class Workshop {
    let program: Program
    let root: URL
    /// The base of most jobs.
    let base: URL
    private let temporary: TemporaryFolder
    private let guardian: Guardian
    private let place: Places.Place
    private(set) var daemon: Running?

    /// - Parameter mount: Called with the folder of the workspace before there is anything in it.
    /// - Returns: `nil` after saying that the test is skipped.
    static func make(
        test: String = #function, mount: (URL) async throws -> Bool = { _ in true }
    ) async throws -> Workshop? {
        guard let base = try TestData.folder("models/stories260K", test: test),
            let text = try TestData.folder("datasets/tinyshakespeare/input.txt", test: test)
        else { return nil }
        let workshop = try Workshop(base: base, place: await Places.shared.take())
        guard try await mount(workshop.root) else { return nil }
        let made = try await workshop.program.run(
            "init", ".", "--allow-root", TestData.root.path, "--allow-root", workshop.outside.path)
        try #require(made.status == 0, "\(made)")
        let data = try Data(contentsOf: text)
        try workshop.write(data.prefix(40_000), to: "data/play.txt")
        return workshop
    }

    private init(base: URL, place: Places.Place) throws {
        self.base = base
        self.place = place
        temporary = try TemporaryFolder()
        let real = temporary.url.resolvingSymlinksInPath()
        root = real.appending(path: "workspace", directoryHint: .isDirectory)
        guardian = try Guardian(of: real)
        for folder in [root, real.appending(path: "outside")] {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        }
        program = try Program(in: root)
    }

    deinit {
        daemon?.signal(SIGKILL)
        guardian.end()
    }

    /// A folder beside the workspace that its roots allow.
    var outside: URL { root.deletingLastPathComponent().appending(path: "outside") }

    func url(_ path: String) -> URL { root.appending(path: path) }

    func write(_ data: Data, to path: String) throws {
        let url = url(path)
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: url)
    }

    func write(_ text: String, to path: String) throws { try write(Data(text.utf8), to: path) }

    func text(_ path: String) throws -> String { String(decoding: try Data(contentsOf: url(path)), as: UTF8.self) }

    func names(in path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: url(path).path).sorted()
    }

    /// The folders of a job's attempts.
    func attempts(_ job: String) throws -> [String] {
        try names(in: "Jobs/runs/\(job)").filter { !$0.hasPrefix("report.") }
    }

    func json(_ path: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(contentsOf: url(path)))
    }

    // MARK: Manifests

    /// A job of some seconds; `steps` of four sequences each.
    func manifest(
        _ name: String = "tone", steps: Int = 20, dropout: Double = 0, base: String? = nil,
        data: String = "data/play.txt"
    ) -> String {
        """
        name: \(name)
        base: \(base ?? self.base.path)
        data: {train: \(data), max_length: 64}
        adapter: {rank: 4, dropout: \(dropout)}
        train:
          steps: \(steps)
          batch_size: 4
          learning_rate: 5e-3
          early_stopping: {metric: loss, patience: 1000}
        run: {threads: 1}

        """
    }

    /// Puts a manifest into the inbox in one step, as a nightly script would.
    func drop(_ text: String, as name: String) throws { try drop(Data(text.utf8), as: name) }

    func drop(_ data: Data, as name: String) throws {
        let draft = "Jobs/.\(UUID().uuidString)"
        try write(data, to: draft)
        guard rename(url(draft).path, url("Jobs/inbox/\(name)").path) == 0 else {
            throw Program.Unexpected(description: "cannot rename into the inbox: \(errno)")
        }
    }

    // MARK: The daemon

    /// Starts the daemon and waits until it says that it runs.
    ///
    /// - Parameters:
    ///   - flags: Further arguments of the verb.
    ///   - executable: Another program than the built one.
    func startDaemon(
        _ environment: [String: String] = [:], flags: [String] = [], executable: URL? = nil
    ) async throws {
        // In front of what the test sets: a failure is tried again at once.
        let all = ["LORAJOBS_RETRY_SECONDS": "0.1"].merging(environment) { $1 }
        let started = try Running(
            executable ?? program.executable, ["daemon", "--verbose"] + flags, in: root, environment: all, input: "")
        daemon = started
        try await until("the daemon runs") {
            let status = try await self.program.run("status", "--json").json()["daemon"]
            return status?["running"] == true && status?["pid"] == .integer(Int(started.pid))
        }
    }

    /// Ends the daemon as the power cord would, or as `systemctl stop` does.
    func endDaemon(_ signal: Int32) async throws {
        guard let daemon else { return }
        daemon.signal(signal)
        let end = try await daemon.outcome()
        if signal == SIGTERM { #expect(end.status == 0, "\(end)") }
        self.daemon = nil
    }

    // MARK: Looking

    /// Waits for something, in all but the worst case for a moment.
    func until(
        _ what: String, within seconds: Double = 60, at location: SourceLocation = #_sourceLocation,
        _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while true {
            if try await condition() { return }
            guard ContinuousClock.now < deadline else {
                let status = try await program.run("status", "--all").output
                Issue.record("waited \(seconds) s in vain until \(what)\n\(status)", sourceLocation: location)
                throw Program.Unexpected(description: "gave up waiting until \(what)")
            }
            try await Task.sleep(for: .milliseconds(40))
        }
    }

    /// Every job, the newest last.
    func jobs() async throws -> [JSONValue] {
        let all = try await program.run("status", "--all", "--json").json()["jobs"]?.elements ?? []
        return all.sorted { ($0["id"]?.word ?? "") < ($1["id"]?.word ?? "") }
    }

    /// The newest job of a name once there are `count` of them and it has ended.
    func ended(
        _ name: String = "tone", count: Int = 1, within seconds: Double = 60,
        at location: SourceLocation = #_sourceLocation
    ) async throws -> JSONValue {
        var found: JSONValue = .null
        try await until("\(name) has ended \(count) times", within: seconds, at: location) {
            let own = try await self.jobs().filter { $0["name"] == .string(name) }
            found = own.last ?? .null
            return own.count >= count && ["succeeded", "failed", "cancelled", "skipped"].contains(found["state"]?.word)
        }
        return found
    }

    /// The id of the newest job of a name, as soon as there is one.
    func id(of name: String = "tone", at location: SourceLocation = #_sourceLocation) async throws -> String {
        var id: String?
        try await until("\(name) is a job", at: location) {
            id = try await self.jobs().last { $0["name"] == .string(name) }?["id"]?.word
            return id != nil
        }
        return try #require(id)
    }

    /// State by stage.
    func stages(_ job: String) async throws -> [String: String] {
        let stages = try await program.run("show", job, "--json").json()["stages"]?.elements ?? []
        return Dictionary(uniqueKeysWithValues: stages.map { ($0["name"]?.word ?? "", $0["state"]?.word ?? "") })
    }

    /// Waits until the training of a job has written a checkpoint; its process.
    func trainingWithCheckpoint(_ job: String, at location: SourceLocation = #_sourceLocation) async throws -> Int32 {
        let folder = "Jobs/runs/\(job)/train.1"
        try await until("\(folder) has a checkpoint", at: location) {
            let isThere = FileManager.default.fileExists(atPath: self.url("\(folder)/log.txt").path)
            return isThere ? try self.text("\(folder)/log.txt").contains("checkpoint after step") : false
        }
        return try #require(Processes.working(in: url(folder)).first, "the training has ended already")
    }

    /// Lets the training of the next job stop itself after its first checkpoint, as SIGSTOP does, until someone sends
    /// SIGCONT: so that a test has all the time it needs.
    var stoppingAtCheckpoint: [String: String] {
        [
            "LORAJOBS_CHECKPOINT_SECONDS": "0.05", "LORAJOBS_FAILPOINTS": "checkpoint.renamed=stop@1",
            "LORAJOBS_FAILPOINT_LOG": outside.appending(path: "hits").path,
        ]
    }

    /// Waits until the training of a job has stopped itself; its process.
    func trainingStoppedAtCheckpoint(_ job: String, at location: SourceLocation = #_sourceLocation) async throws
        -> Int32
    {
        var stopped: Int32?
        try await until("the training has stopped", at: location) {
            stopped = Processes.working(in: self.url("Jobs/runs/\(job)/train.1")).first { Processes.state($0) == "T" }
            return stopped != nil
        }
        return try #require(stopped)
    }

    /// The numbers of the versions of an adapter.
    func versions(_ name: String = "tone", in collection: String = "adapters") throws -> [Int] {
        let folder = url("Artifacts/\(collection)/\(name)").path
        guard FileManager.default.fileExists(atPath: folder) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: folder).compactMap { Int($0) }.sorted()
    }
}

extension JSONValue {
    /// The members of an array.
    var elements: [JSONValue] {
        if case .array(let values) = self { values } else { [] }
    }

    /// The content of a string.
    var word: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The value of a number.
    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
}
