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
    /// The job's files by path, among which the images of a list must be.
    var files: [String: PinnedFile] = [:]
    /// The images that a list names: they are records of the list, not of their folder.
    var listedImages: Set<String> = []

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
            let format = try format(of: file)
            counted.formats[format.place] = format.reason
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
        guard container != ImageContainer.self || !listedImages.contains(file.path) else { return }
        try container.forEachRecord(in: file, passageBytes: passageBytes) { result in
            try body(result.flatMap { self.record($0, choice.format, of: file) })
        }
    }

    /// What must be known of all records before the first is encoded.
    struct Survey {
        /// The classes that they name.
        var labels: Set<String> = []
        /// The image files that lists name.
        var images: Set<String> = []

        /// The classes in an order that does not depend on that of the records; `nil` when none are named.
        var classes: ClassNames? { labels.isEmpty ? nil : ClassNames(found: labels) }
    }

    /// Looks through the files whose records name classes. Broken records are passed over: reading them says what is wrong.
    ///
    /// - Parameter limit: Bytes of each file that are looked at, when not all of it.
    func survey(_ files: [PinnedFile], upTo limit: Int64? = nil) throws -> Survey {
        struct Enough: Error {}
        var survey = Survey()
        // Lists before the images that they may name.
        let choices = try files.map { (file: $0, choice: try choose($0)) }
        let (images, others) = (
            choices.filter { $0.choice.0 == ImageContainer.self }, choices.filter { $0.choice.0 != ImageContainer.self }
        )
        for (file, (container, choice)) in others + images where choice.format.namesClasses {
            if container == ImageContainer.self, survey.images.contains(file.path) { continue }
            do {
                try container.forEachRecord(in: file, passageBytes: passageBytes) { result in
                    guard case .success(let record) = result.flatMap({ self.record($0, choice.format, of: file) })
                    else { return }
                    for label in record.content.labels { survey.labels.insert(label.text) }
                    if let image = record.content as? LabelledImage, case .file(let listed) = image.source,
                        container != ImageContainer.self
                    {
                        survey.images.insert(listed.path)
                    }
                    if let limit, record.end > limit { throw Enough() }
                }
            } catch is Enough {}
        }
        return survey
    }

    /// The name of the format that the file is read in.
    func formatName(of file: PinnedFile) throws -> JobManifest.DataFormat { try choose(file).1.format.name }

    /// The format that the file is read in and why it is that, and what this is said of: the file, or for an image the
    /// folder that holds those of all classes.
    func format(of file: PinnedFile) throws -> (place: String, reason: String) {
        let (container, choice) = try choose(file)
        let classFolder = URL(filePath: file.path).deletingLastPathComponent()
        let place = container == ImageContainer.self ? classFolder.deletingLastPathComponent().path : file.path
        return (place, choice.reason)
    }

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

    private func record(
        _ raw: RawRecord, _ format: any RecordFormat.Type, of file: PinnedFile
    ) -> Result<Record, BadRecord> {
        do throws(UnusableRecord) {
            var content = try format.read(RecordFields(values: raw.fields, columns: data.columns))
            if let image = content as? LabelledImage { content = try located(image, of: file) }
            return .success(Record(content: content, place: raw.place, end: raw.end))
        } catch {
            return .failure(BadRecord(place: raw.place, reason: error.reason))
        }
    }

    /// An image with the file that its record names, which must be one of the job's: only of those it is known whether
    /// they have changed.
    private func located(_ image: LabelledImage, of file: PinnedFile) throws(UnusableRecord) -> LabelledImage {
        guard case .path(let path) = image.source else { return image }
        var image = image
        let folder = URL(filePath: file.path).deletingLastPathComponent()
        let absolute = path.hasPrefix("/") ? path : folder.appending(path: path).path
        if absolute == file.path {
            image.source = .file(file)
            return image
        }
        guard let real = FilePaths.realPath(absolute) else {
            throw UnusableRecord(reason: "there is no image \(PrintableText.line(path, limit: 200))")
        }
        guard let pinned = files[real] else {
            throw UnusableRecord(
                reason:
                    "the image \(PrintableText.line(path, limit: 200)) is not among the files of the job; list it beside "
                    + "the file that names it, such as data: {train: [labels.csv, images/*.png]}, so that a change of it is seen"
            )
        }
        image.source = .file(pinned)
        return image
    }
}
