import Foundation
import Logging
import PipelineSpec

extension JobDriver {
    /// Leaves the report of a job that has ended beside its attempts.
    ///
    /// It can be made again, so that it cannot be written is no failure of the job. Of a job that found everything in the
    /// cache only the numbers are kept, for whoever makes the queue anew: nothing happened that a page would show.
    func writeReport(of job: DrivenJob) {
        let folder = configuration.workspace.run(job: job.id, stage: "report", attempt: 1).url
            .deletingLastPathComponent()
        do {
            let hasRun = FileManager.default.fileExists(atPath: folder.path)
            if !hasRun { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }
            try RunReport(queue.show(job.id), includesExamples: configuration.reportsExamples)
                .write(to: folder, hasPage: hasRun || job.state == .failed)
        } catch {
            configuration.logger.warning("no report", metadata: ["job": "\(job.id)", "error": "\(error)"])
        }
    }
}
