import Foundation
import Logging
import PipelineSpec

extension JobDriver {
    /// Leaves the report of a job that has ended beside its attempts.
    ///
    /// It can be made again, so that it cannot be written is no failure of the job. A job that found everything in the cache
    /// has no folder, and needs none: nothing happened.
    func writeReport(of job: DrivenJob) {
        let folder = configuration.workspace.run(job: job.id, stage: "report", attempt: 1).url
            .deletingLastPathComponent()
        do {
            if !FileManager.default.fileExists(atPath: folder.path) {
                guard job.state == .failed else { return }
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            }
            try RunReport(queue.show(job.id), includesExamples: configuration.reportsExamples).write(to: folder)
        } catch {
            configuration.logger.warning("no report", metadata: ["job": "\(job.id)", "error": "\(error)"])
        }
    }
}
