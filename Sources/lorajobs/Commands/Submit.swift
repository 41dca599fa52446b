import ArgumentParser
import Foundation
import Orchestration
import PipelineSpec

struct Submit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check manifests and drop them into the inbox; print the id of each job.",
        discussion: """
            Nothing is dropped unless every file is valid. With --wait the exit code is the job's: 0 when it succeeded, \
            1 when it failed, 2 when it was cancelled.
            """)

    @OptionGroup var options: WorkspaceOptions
    @OptionGroup var changes: ManifestChanges

    @Argument(help: "Manifests; - is standard input.")
    var files: [String]

    @Option(
        name: .long,
        help: ArgumentHelp("Drop into this tenant's folder of the inbox, which must be there.", valueName: "name"))
    var tenant: String?
    @Flag(name: .long, help: "Wait until the jobs have ended.") var wait = false
    @Flag(name: .long, help: "Wait, and show how they move.") var follow = false
    @Option(name: .long, help: ArgumentHelp("Wait no longer than this, such as 90s or 8h.", valueName: "time"))
    var timeout: String?
    @Flag(name: .long, help: "Print one JSON object.") var json = false

    private var waits: Bool { wait || follow }

    mutating func validate() throws {
        if timeout != nil, !waits { throw ValidationError("--timeout goes with --wait or --follow") }
        if let timeout { _ = try seconds(timeout) }
    }

    mutating func run() async throws {
        let setup = try WorkspaceSetup(options.locate())
        try LostQueue.check(setup.workspace)
        if let tenant { try Self.check(tenant, in: setup.workspace) }
        let judgements = try files.map {
            try ManifestSource($0).setting(changes.assignments(in: setup.workspace)).judge(setup)
        }
        guard SubmitReport(setup).areValid(judgements, json: json) else {
            if json { try StandardOutput.json(Judgement.json(judgements)) }
            return try ExitStatus.invalidInput.end()
        }
        var ids: [String] = []
        for judgement in judgements {
            let source = judgement.source
            let id = try InboxEntry.drop(source.data, name: source.name, tenant: tenant, in: setup.workspace)
            ids.append(id)
            if !json { try StandardOutput.line(id) }
            if let sweep = judgement.resolved?.sweep {
                Talk.say("a sweep of \(sweep.trials.count) trials; how they do: lorajobs sweep \(id)")
            }
        }
        DaemonLock.poke(setup.workspace)
        guard waits else {
            if json { try StandardOutput.json(["jobs": .array(ids.map { .object(["id": .string($0)]) })]) }
            if try DaemonLock.holder(of: setup.workspace) == nil {
                Talk.say("no daemon runs here; it starts when one does: lorajobs daemon")
            }
            return
        }
        var watch = JobWatch(workspace: setup.workspace)
        watch.showsProgress = follow
        watch.deadline = JobWatch.deadline(try timeout.map(seconds))
        try await ended(ids, watch, json: json)
    }

    /// Checks that a tenant has a folder: its owner and mode say who may drop, so that nobody makes one in passing.
    private static func check(_ tenant: String, in workspace: Workspace) throws {
        if tenant == InboxEntry.defaultTenant { return }
        guard InboxEntry.isTenant(tenant) else {
            throw CommandFailure(
                .usage,
                "--tenant: \(PrintableText.quoted(tenant)) cannot be a tenant: use up to 64 letters, digits, _ and -")
        }
        var isFolder: ObjCBool = false
        let path = workspace.inbox.appending(path: tenant).path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            throw CommandFailure(
                .notFound,
                "there is no tenant \(tenant); make its folder, whose owner and mode say who may drop: mkdir \(path)")
        }
    }

    /// Waits for submitted manifests, says how they ended, and ends with their exit code.
    private func ended(_ claims: [String], _ watch: JobWatch, json: Bool) async throws {
        var jobs: [JobStatus] = []
        for claim in claims {
            let job = try await watch.job(of: claim)
            if job != claim { Talk.say("\(claim) is done by \(job), which asks for the same") }
            // The trials of a sweep, and one job otherwise.
            let trials = try QueueAccess.reading(watch.workspace)?.jobs(ofClaim: job) ?? []
            for job in trials.isEmpty ? [job] : trials {
                let status = try await watch.end(of: job)
                Talk.say(JobWatch.summary(status))
                jobs.append(status)
            }
        }
        if json { try StandardOutput.json(["jobs": .array(jobs.map { .object(StatusReport.json($0)) })]) }
        try JobWatch.exitStatus(jobs.map(\.state)).end()
    }
}

/// The options that change a manifest on its way.
struct ManifestChanges: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Replace a value of the manifest, such as train.epochs=1; may be given again.", valueName: "key=value"))
    var set: [String] = []
    @Flag(name: .long, help: "Keep the job back until lorajobs release.") var hold = false
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Start no earlier: 02:30 (the next one), +2h, or 2027-01-31T02:30.", valueName: "time"))
    var at: String?
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Start after this job: ID, or ID:ok, ID:any, ID:notok; may be given again.", valueName: "id"))
    var after: [String] = []

    /// Everything as `--set` would say it.
    func assignments(in workspace: Workspace, now: Date = Date()) throws -> [String] {
        var all = set
        if hold { all.append("run.hold=true") }
        if let at { all.append("run.at=" + JSON.string(Self.moment(at, now: now)).text()) }
        if !after.isEmpty {
            let ids = try after.map { JSON.string(try Self.reference($0, in: workspace)) }
            all.append("run.after=" + JSON.array(ids).text())
        }
        return all
    }

    /// What a manifest writes for `02:30` or `+2h`; anything else is left for the manifest's own rules.
    static func moment(_ text: String, now: Date, timeZone: TimeZone = .current) -> String {
        if text.hasPrefix("+"), let seconds = Durations.seconds(String(text.dropFirst())) {
            return Moments.json(now.addingTimeInterval(seconds.rounded(.up)))
        }
        if let match = text.wholeMatch(of: #/(\d\d?):(\d\d)/#), let hour = Int(match.1), let minute = Int(match.2) {
            var calendar = Calendar(identifier: .gregorian)
            calendar.timeZone = timeZone
            let parts = DateComponents(hour: hour, minute: minute)
            guard hour < 24, minute < 60,
                let next = calendar.nextDate(
                    after: now, matching: parts, matchingPolicy: .nextTime)
            else { return text }
            return Moments.json(next)
        }
        return text
    }

    /// The whole id behind `ID:any`.
    ///
    /// One that is only in the inbox is known by its file.
    private static func reference(_ text: String, in workspace: Workspace) throws -> String {
        let parts = text.split(separator: ":", maxSplits: 1)
        let condition = parts.count > 1 ? ":\(parts[1])" : ""
        let prefix = parts.first.map(String.init) ?? text
        if let pending = PendingDrop.find(prefix, in: workspace) { return pending.id + condition }
        guard let queue = try QueueAccess.reading(workspace) else { throw JobLookup.failure(prefix, among: []) }
        return try JobLookup.id(prefix, in: queue) + condition
    }
}

/// Says what is wrong with manifests before they are submitted.
struct SubmitReport {
    private let setup: WorkspaceSetup

    init(_ setup: WorkspaceSetup) { self.setup = setup }

    /// Whether all are valid; what is not has been reported, and so have warnings.
    func areValid(_ judgements: [Judgement], json: Bool) -> Bool {
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        var isValid = true
        for judgement in judgements {
            let isAccepted = judgement.resolved != nil
            let others = judgements.count == 1 ? "" : ", of none of the files"
            if !json || isAccepted {
                Talk.write(judgement.text(consequence: "Nothing was submitted\(others). Fix it and submit again."))
            }
            for warning in CallersFolder.warnings(judgement, workspace: setup.workspace, folder: here) {
                Talk.warn(warning)
            }
            isValid = isValid && isAccepted
        }
        return isValid
    }
}

/// Seconds in the text of `--timeout`.
func seconds(_ text: String) throws -> Double {
    guard let value = Durations.seconds(text) else {
        throw ValidationError("--timeout: expected a time such as 90s, 10m or 8h, got \(PrintableText.quoted(text))")
    }
    return value
}
