import Foundation
import PipelineSpec

/// What was read of a job's files.
struct RecordReading: Codable, Sendable {
    /// The format of each file, in words.
    var formats: [String: String] = [:]
    var records = 0
    /// Each broken record with its place and reason.
    var badRecords: [String] = []

    /// Notes a broken record.
    ///
    /// - Throws: ``StageError`` `bad_record` when the manifest does not allow as many.
    mutating func tolerate(_ bad: BadRecord, _ data: JobManifest.Data) throws {
        badRecords.append("\(bad)")
        guard badRecords.count <= data.maxBadRecords else {
            throw StageError("bad_record", "\(bad) (data.max_bad_records allows \(data.maxBadRecords))")
        }
    }
}

/// Streams the records of several files in their formats, tolerating as many broken ones as the manifest allows.
struct RecordSource: Sendable {
    let data: JobManifest.Data
    /// Bytes of a passage of plain text.
    let passageBytes: Int

    /// Calls `body` with each usable record, in the order of the files.
    ///
    /// - Throws: ``StageError`` that names file and line, `inputs_changed`, and whatever `body` throws.
    func forEachRecord(
        in files: [PinnedFile], _ reading: inout RecordReading, _ body: (Record) throws -> Void
    ) throws {
        // A copy, because `body` may not run while its caller's variable is being changed.
        var counted = reading
        defer { reading = counted }
        for file in files {
            let format = try RecordFormats.format(for: file, data)
            counted.formats[file.path] = format.summary
            try format.forEachRecord(in: file, columns: data.columns, passageBytes: passageBytes) { result in
                switch result {
                case .success(let record):
                    counted.records += 1
                    try body(record)
                case .failure(let bad):
                    try counted.tolerate(bad, data)
                }
            }
        }
    }
}
