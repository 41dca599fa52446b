import Foundation
import PipelineSpec

/// What was read of a job's files.
struct RecordReading: Codable, Sendable {
    /// The format of each file, in words, and why it is that.
    var formats: [String: String] = [:]
    var records = 0
    /// How many records are broken.
    var badCount = 0
    /// Broken records with place and reason, the first ones of them.
    var badRecords: [String] = []

    /// Broken records that are remembered one by one.
    private static let listedBadRecords = 1000

    /// Notes a broken record.
    ///
    /// - Throws: ``StageError`` `bad_record` when the manifest does not allow as many.
    mutating func tolerate(_ bad: BadRecord, _ data: JobManifest.Data) throws {
        badCount += 1
        if badRecords.count < Self.listedBadRecords { badRecords.append("\(bad)") }
        guard badCount <= data.maxBadRecords else {
            throw StageError("bad_record", "\(bad) (data.max_bad_records allows \(data.maxBadRecords))")
        }
    }
}

/// Streams the records of several files in their formats, tolerating as many broken ones as the manifest allows.
struct RecordSource: Sendable {
    let data: JobManifest.Data
    /// Bytes of a passage of plain text.
    let passageBytes: Int

    /// Calls `body` with each usable record, in the order of the files. A ``BadRecord`` that it throws counts with
    /// those that could not be read.
    ///
    /// - Throws: ``StageError`` that names file and line, `inputs_changed`, and whatever `body` throws.
    func forEachRecord(
        in files: [PinnedFile], _ reading: inout RecordReading, _ body: (Record) throws -> Void
    ) throws {
        // A copy, because `body` may not run while its caller's variable is being changed.
        var counted = reading
        defer { reading = counted }
        for file in files {
            counted.formats[file.path] = try format(of: file)
            try forEachResult(in: file) { result in
                switch result {
                case .success(let record):
                    counted.records += 1
                    do {
                        try body(record)
                    } catch let bad as BadRecord {
                        try counted.tolerate(bad, data)
                    }
                case .failure(let bad):
                    try counted.tolerate(bad, data)
                }
            }
        }
    }

    /// Calls `body` with each record of a file, or with what is wrong with it, in their order.
    func forEachResult(in file: PinnedFile, _ body: (Result<Record, BadRecord>) throws -> Void) throws {
        let (container, choice) = try choose(file)
        try container.forEachRecord(in: file, passageBytes: passageBytes) { result in
            try body(result.flatMap { self.record($0, choice.format) })
        }
    }

    /// The classes that the records of the files name, in an order that does not depend on theirs; `nil` when the files
    /// are not about classes. Broken records are passed over: reading them says what is wrong.
    ///
    /// - Parameter limit: Bytes of each file that are looked at, when not all of it.
    func classNames(in files: [PinnedFile], upTo limit: Int64? = nil) throws -> ClassNames? {
        struct Enough: Error {}
        var labels: Set<String> = []
        for file in files {
            let (container, choice) = try choose(file)
            guard choice.format == ClassificationFormat.self else { continue }
            do {
                try container.forEachRecord(in: file, passageBytes: passageBytes) { result in
                    guard case .success(let record) = result.flatMap({ self.record($0, choice.format) }),
                        let labelled = record.content as? LabelledText
                    else { return }
                    labels.insert(labelled.label.text)
                    if let limit, record.end > limit { throw Enough() }
                }
            } catch is Enough {}
        }
        return labels.isEmpty ? nil : ClassNames(found: labels)
    }

    /// The format that the file is read in, and why it is that.
    func format(of file: PinnedFile) throws -> String { try choose(file).1.reason }

    /// Where the file's records stand, and what they are.
    private func choose(_ file: PinnedFile) throws -> (any RecordContainer.Type, RecordFormats.Choice) {
        struct Found: Error { let record: RawRecord }
        let container = try RecordContainers.container(of: file, isText: data.format == .text)
        var first: RawRecord?
        do {
            try container.forEachRecord(in: file, passageBytes: passageBytes) { result in
                if case .success(let record) = result { throw Found(record: record) }
            }
        } catch let found as Found {
            first = found.record
        }
        return (container, try RecordFormats.choose(data, container: container, first: first))
    }

    private func record(_ raw: RawRecord, _ format: any RecordFormat.Type) -> Result<Record, BadRecord> {
        do throws(UnusableRecord) {
            let content = try format.read(RecordFields(values: raw.fields, columns: data.columns))
            return .success(Record(content: content, place: raw.place, end: raw.end))
        } catch {
            return .failure(BadRecord(place: raw.place, reason: error.reason))
        }
    }
}
