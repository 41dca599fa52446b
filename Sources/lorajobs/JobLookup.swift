import Foundation
import Orchestration
import PipelineSpec

/// Finds the job that a person means, or says which they may have meant.
enum JobLookup {
    /// The whole id of a job in the queue.
    ///
    /// - Parameter text: An id, or the unique beginning of one.
    /// - Throws: ``CommandFailure`` with the near ones.
    static func id(_ text: String, in queue: JobQueue) throws -> String {
        do {
            return try queue.resolve(text)
        } catch let error as OrchestrationError where error.code == .notFound || error.code == .ambiguous {
            // What was submitted may have been found equal to a job that waited, or wrong.
            if let verdict = try queue.verdict(of: text.uppercased()) {
                if let job = verdict.job { return job }
                throw CommandFailure(.invalidInput, rejection(text, verdict))
            }
            var filter = JobFilter()
            filter.includesOld = true
            filter.limit = 2000
            let jobs = try queue.list(filter)
            throw error.code == .notFound ? failure(text, among: jobs) : ambiguity(text, among: jobs)
        }
    }

    /// Why a submitted manifest became no job.
    static func rejection(_ claim: String, _ verdict: IntakeVerdict) -> String {
        struct Report: Decodable { var findings: [Finding] }
        guard case .rejected(let data) = verdict, let report = try? ProtocolJSON.decode(Report.self, from: data),
            !report.findings.isEmpty
        else { return "\(claim) was not accepted; lorajobs inbox errors says why" }
        return "\(claim) was not accepted: \(InvalidFile(report.findings).description)"
    }

    /// That there is no such job, and which are near.
    static func failure(_ text: String, among jobs: [JobStatus]) -> CommandFailure {
        let near = near(text, among: jobs)
        let hint =
            if jobs.isEmpty {
                "; there are no jobs yet"
            } else if near.isEmpty {
                "; lorajobs status --all lists them"
            } else {
                "; near it are:\n" + near.map(line).joined(separator: "\n")
            }
        return CommandFailure(.notFound, "there is no job \(PrintableText.line(text, limit: 80))\(hint)")
    }

    private static func ambiguity(_ text: String, among jobs: [JobStatus]) -> CommandFailure {
        let matches = jobs.filter { $0.id.hasPrefix(text.uppercased()) }.suffix(8)
        return CommandFailure(
            .usage,
            "several jobs begin with \(text); write more of the id:\n"
                + matches.map(line).joined(separator: "\n"))
    }

    /// Up to five jobs, newest last: those of the name that was typed, else those whose ids begin most alike.
    static func near(_ text: String, among jobs: [JobStatus]) -> [JobStatus] {
        let named = jobs.filter { $0.name == text }
        if !named.isEmpty { return Array(named.suffix(5)) }
        let wanted = Array(text.uppercased().utf8)
        let likeness = jobs.map { job in zip(wanted, job.id.utf8).prefix { $0 == $1 }.count }
        // The first letters of an id are the date, which all jobs of a season share.
        guard let best = likeness.max(), best >= 4 else {
            return Array(jobs.filter { !text.isEmpty && $0.name.contains(text) }.suffix(5))
        }
        return Array(zip(jobs, likeness).filter { $1 == best }.map(\.0).suffix(5))
    }

    private static func line(_ job: JobStatus) -> String {
        "  \(job.id)  \(job.name)  \(job.state.rawValue)  \(Moments.local(job.createdAt))"
    }
}

/// Manifests that have been submitted and that no daemon has taken yet: they have an id and are no jobs so far.
enum PendingDrop {
    /// The file of the id, or of the unique beginning of one, in the inbox or on its way out of it.
    static func find(_ text: String, in workspace: Workspace) -> (id: String, url: URL)? {
        let wanted = text.uppercased()
        guard wanted.count >= 4 else { return nil }
        var found: [(id: String, url: URL)] = []
        for folder in [workspace.inbox, workspace.claimed] {
            for url in files(below: folder) {
                guard let claim = InboxName.claim(in: url.lastPathComponent) else { continue }
                if claim.id.description.hasPrefix(wanted) { found.append((claim.id.description, url)) }
            }
        }
        return Set(found.map(\.id)).count == 1 ? found.first : nil
    }

    /// The files of a folder and of the tenants' folders in it.
    private static func files(below folder: URL) -> [URL] {
        let manager = FileManager.default
        let names = (try? manager.contentsOfDirectory(atPath: folder.path(percentEncoded: false))) ?? []
        return names.sorted().flatMap { name in
            let url = folder.appending(path: name)
            let inner = try? manager.contentsOfDirectory(atPath: url.path(percentEncoded: false))
            return inner.map { $0.map { url.appending(path: $0) } } ?? [url]
        }
    }
}
