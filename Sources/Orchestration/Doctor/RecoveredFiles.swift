import Artifacts
import Foundation
import Glibc
import PipelineSpec

/// What the folders of a workspace say of its jobs, without the queue: filed manifests, run folders, versions.
struct RecoveredFiles {
    /// A manifest that was taken from the inbox.
    struct Claim {
        var id: String
        var originalName: String
        var url: URL
        /// What its receipt says; `nil` when there is none.
        var receipt: Inbox.Receipt?
        /// Its report; only a rejected manifest has one.
        var report: Data?
        var isRejected: Bool
        /// It still lies in `claimed`; its tenant then is the folder's.
        var claimedBy: String?
        var bytes: Data
        var ownerID: UInt32

        var tenant: String { claimedBy ?? receipt?.tenant ?? InboxEntry.defaultTenant }
        /// By the receipt, else by the id.
        var receivedAt: Date {
            let stated = receipt.flatMap { try? Date($0.received, strategy: .iso8601) }
            return stated ?? ULID(id)?.date ?? Date(timeIntervalSince1970: 0)
        }
    }

    /// A folder of a try at a stage.
    struct Run {
        var job: String
        var stage: String
        var number: Int
        var directory: RunDirectory
        /// `nil` when it is gone or cannot be read.
        var request: StageRequest?
        var result: StageResult?
        var beganAt: Date
        /// When its last file was written, as far as that is known.
        var endedAt: Date

        /// Of the request; a folder without one gets a name of its own, so that its number is not given again.
        var attemptID: String { request?.attemptID ?? "\(job)/\(stage).\(number)" }
    }

    /// How a job has ended, as its report says.
    struct End {
        var state: JobState
        var reason: String?
        var adapter: String?
        var gate: String?
        var startedAt: Date?
        var finishedAt: Date?
    }

    /// By the claim's id, which is the job's.
    private(set) var claims: [Claim] = []
    private(set) var runs: [String: [Run]] = [:]
    /// What each job has published, adapters first.
    private(set) var versions: [String: [Version]] = [:]
    /// Jobs whose report is there, and says that they have ended.
    private(set) var ends: [String: End] = [:]
    /// What gates have decided about the versions of a job, as the store's logs say.
    private(set) var decisions: [String: [GateDecision]] = [:]
    private var known: Set<String> = []
    /// What could not be understood.
    private(set) var notes: [String] = []

    init(_ workspace: Workspace) throws {
        try readRuns(workspace)
        try readVersions(workspace)
        for (folder, isRejected) in [(workspace.accepted, false), (workspace.rejected, true)] {
            for day in try Self.folders(in: InboxEntry.path(folder)) { try readClaims(in: day, isRejected: isRejected) }
        }
        try readClaimed(workspace)
        claims.sort { $0.id < $1.id }
    }

    /// The manifest that a job ran with, as its requests or its versions have kept it.
    func manifest(of job: String) throws -> (manifest: JobManifest, digest: String)? {
        if let request = runs[job]?.compactMap(\.request).last { return (request.manifest, request.manifestDigest) }
        for version in versions[job] ?? [] {
            guard let lineage = version.record["lineage"], let kept = lineage["manifest"] else { continue }
            if let manifest = try? JSONDecoder().decode(JobManifest.self, from: kept.data()) {
                return (manifest, Self.text(lineage["manifest_digest"]) ?? Digest.sha256(kept.data()))
            }
        }
        return nil
    }

    // MARK: Folders

    private mutating func readRuns(_ workspace: Workspace) throws {
        for folder in try Self.folders(in: InboxEntry.path(workspace.runs)) {
            let job = (folder as NSString).lastPathComponent
            guard ULID(job) != nil else { continue }
            ends[job] = Self.end(of: job, in: folder)
            for path in try Self.folders(in: folder) {
                let name = (path as NSString).lastPathComponent
                guard let dot = name.lastIndex(of: "."), let number = Int(name[name.index(after: dot)...]), number > 0
                else { continue }
                let directory = RunDirectory(URL(filePath: path, directoryHint: .isDirectory))
                // A request of another version, or half a one, still is a try that has its number.
                let request = try? directory.readRequest()
                let result = (try? directory.readResult()).flatMap { $0 }
                runs[job, default: []].append(
                    Run(
                        job: job, stage: String(name[..<dot]), number: number, directory: directory, request: request,
                        result: result?.attemptID == request?.attemptID ? result : nil,
                        beganAt: Self.modified(directory.request.path) ?? Self.modified(path) ?? Self.unknown,
                        endedAt: Self.modified(directory.result.path) ?? Self.modified(path) ?? Self.unknown))
            }
            runs[job]?.sort { ($0.stage, $0.number) < ($1.stage, $1.number) }
        }
    }

    private mutating func readVersions(_ workspace: Workspace) throws {
        let store = ArtifactStore(workspace.artifacts)
        let jobs = Dictionary(
            runs.values.joined().compactMap { run in run.request.map { ($0.attemptID, run.job) } },
            uniquingKeysWith: { first, _ in first })
        for version in try ArtifactCollection.allCases.flatMap({ try store.list($0, all: true) }) {
            guard let job = Self.text(version.record["job"]) ?? jobs[version.attemptID], ULID(job) != nil else {
                notes.append("\(version.reference) does not say which job made it")
                continue
            }
            versions[job, default: []].append(version)
            let entries = try store.history(of: version.name, in: version.collection)
            decisions[job, default: []] += entries.compactMap { GateDecision($0, of: version) }
        }
        for job in versions.keys {
            versions[job]?.sort {
                ($0.collection == .adapters ? 0 : 1, $0.name, $0.number)
                    < ($1.collection == .adapters ? 0 : 1, $1.name, $1.number)
            }
        }
    }

    private mutating func readClaims(in folder: String, isRejected: Bool) throws {
        let names = try InboxEntry.names(in: folder)
        for name in names {
            guard let claim = InboxName.claim(in: name), InboxName(name) == .manifest,
                !name.hasSuffix(".receipt.json"), !name.hasSuffix(".error.json")
            else { continue }
            let url = URL(filePath: "\(folder)/\(name)")
            var report: Data?
            if isRejected {
                report = FileManager.default.contents(atPath: url.path + ".error.json")
                if report == nil { notes.append("\(name) was rejected, and its report is gone") }
            }
            let receipt = FileManager.default.contents(atPath: url.path + ".receipt.json").flatMap {
                try? ProtocolJSON.decode(Inbox.Receipt.self, from: $0)
            }
            if !isRejected && receipt == nil {
                notes.append("\(name) has no readable receipt; its tenant is not known")
            }
            try add(
                Claim(
                    id: claim.id.description, originalName: claim.name, url: url, receipt: receipt, report: report,
                    isRejected: isRejected, claimedBy: nil, bytes: Data(), ownerID: 0))
        }
    }

    /// What lies in `claimed` the daemon takes up by itself, unless it has run already: then it is no new job.
    private mutating func readClaimed(_ workspace: Workspace) throws {
        let claimed = InboxEntry.path(workspace.claimed)
        for folder in [claimed] + (try Self.folders(in: claimed)) {
            for name in try InboxEntry.names(in: folder) {
                guard let claim = InboxName.claim(in: name), InboxName(name) == .manifest else { continue }
                let id = claim.id.description
                guard runs[id] != nil || versions[id] != nil else { continue }
                try add(
                    Claim(
                        id: id, originalName: claim.name, url: URL(filePath: "\(folder)/\(name)"), receipt: nil,
                        report: nil, isRejected: false,
                        claimedBy: folder == claimed
                            ? InboxEntry.defaultTenant : (folder as NSString).lastPathComponent,
                        bytes: Data(), ownerID: 0))
            }
        }
    }

    private mutating func add(_ claim: Claim) throws {
        var claim = claim
        guard known.insert(claim.id).inserted else {
            return notes.append("\(claim.url.path) is there twice; the other one counts")
        }
        var status = stat()
        guard lstat(claim.url.path, &status) == 0 else {
            throw OrchestrationError(system: "examine", claim.url.path, errno)
        }
        claim.ownerID = status.st_uid
        // Links and pipes are filed as what they are when they are rejected, and are never read.
        if status.st_mode & S_IFMT == S_IFREG, status.st_size <= 16 << 20 {
            claim.bytes = try Data(contentsOf: claim.url)
        }
        claims.append(claim)
    }

    /// The folders in a folder, sorted; none when it is not there.
    static func folders(in path: String) throws -> [String] {
        guard InboxEntry.isFolder(path) else { return [] }
        return try InboxEntry.names(in: path).map { "\(path)/\($0)" }.filter(InboxEntry.isFolder)
    }

    private static func text(_ value: JSONValue?) -> String? {
        if case .string(let text)? = value { text } else { nil }
    }

    private static let unknown = Date(timeIntervalSince1970: 0)

    private static func modified(_ path: String) -> Date? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return Date(timeIntervalSince1970: Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9)
    }

    /// What the report beside a job's attempts says of its end; `nil` without a report that can be believed.
    private static func end(of job: String, in folder: String) -> End? {
        guard let data = FileManager.default.contents(atPath: "\(folder)/\(RunReport.numbers)"),
            let facts = (try? JSONDecoder().decode(JSONValue.self, from: data))?["job"], text(facts["id"]) == job,
            let state = text(facts["state"]).flatMap(JobState.init(rawValue:)), state.isFinal
        else { return nil }
        func date(_ key: String) -> Date? { text(facts[key]).flatMap { try? Date($0, strategy: .iso8601) } }
        return End(
            state: state, reason: text(facts["reason"]), adapter: text(facts["adapter"]), gate: text(facts["gate"]),
            startedAt: date("started"), finishedAt: date("finished"))
    }
}
