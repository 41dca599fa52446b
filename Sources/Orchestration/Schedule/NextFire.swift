import Foundation
package import PipelineSpec

/// The schedule that is due first.
package struct NextFire: Sendable, Equatable {
    package var schedule: String
    package var occurrence: Occurrence

    /// Looks at the files and at what is paused; a file whose `schedule:` cannot be read is passed over.
    ///
    /// - Parameter queue: `nil` when there is none yet.
    static func first(in workspace: Workspace, queue: JobQueue?) throws -> NextFire? {
        let now = queue?.now() ?? JobQueue.wallClock()
        let date = Date(timeIntervalSince1970: Double(now) / 1000)
        // The manifest's own findings need the files it names, and change no times.
        let entries = try ScheduleFolder(workspace).entries { data in
            let definition = ScheduleDefinition.read(data)
            return ScheduleFile(definition: definition, manifest: .failure(InvalidFile([Finding(.empty, "not read")])))
        }
        if entries.isEmpty { return nil }
        let records = try queue?.schedules() ?? [:]
        return entries.compactMap { entry -> NextFire? in
            guard let definition = entry.file.definition, definition.isEnabled, records[entry.id]?.isPaused != true,
                let next = definition.cron.next(after: date, in: definition.timeZone)
            else { return nil }
            return NextFire(schedule: entry.id, occurrence: next)
        }.min { $0.occurrence.date < $1.occurrence.date }
    }
}
