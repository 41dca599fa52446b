import Foundation
import PipelineSpec
import Tokenizers

/// Comma-separated values (RFC 4180) with a header row: quoted fields may hold commas, line breaks and doubled
/// quotation marks.
enum CommaSeparatedContainer: RecordContainer {
    static let name = "CSV"

    static func recognises(fileExtension: String, start: Data) -> Bool { fileExtension == "csv" }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        var scanner = CSVScanner(file: file.path)
        var table = TableReader()
        func read(_ row: CSVScanner.Row) throws {
            if let record = try table.record(row.fields, row.place, row.end, row.problem) { try body(record) }
        }
        try PinnedText(file: file).forEachBlock { try scanner.read($0, read) }
        try scanner.finish(read)
    }
}

/// Tab-separated values with a header row, a line a record.
///
/// Corpora of this kind are full of quotation marks that mean themselves. A field is unquoted only when it begins and
/// ends with one and those between them are doubled, and it never reaches over a line's end.
enum TabSeparatedContainer: RecordContainer {
    static let name = "TSV"

    static func recognises(fileExtension: String, start: Data) -> Bool { fileExtension == "tsv" }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        var table = TableReader()
        try LineReader(file: file).forEachLine { line, number, end in
            guard !line.isEmpty else { return }
            let fields = line.split(separator: 0x09, omittingEmptySubsequences: false).map { unquoted(Array($0)) }
            let place = RecordPlace(file: file.path, line: number)
            if let record = try table.record(fields, place, end, nil) { try body(record) }
        }
    }

    private static func unquoted(_ field: [UInt8]) -> [UInt8] {
        let quote = UInt8(ascii: "\"")
        guard field.count >= 2, field.first == quote, field.last == quote else { return field }
        var out: [UInt8] = []
        var index = 1
        while index < field.count - 1 {
            if field[index] == quote {
                guard index + 1 < field.count - 1, field[index + 1] == quote else { return field }
                index += 1
            }
            out.append(field[index])
            index += 1
        }
        return out
    }
}

/// Makes records of rows: the first names the fields.
private struct TableReader {
    private var header: [String]?

    /// The record of a row; `nil` for the header.
    ///
    /// - Throws: ``StageError`` for a header that names nothing, since then no record can be read.
    mutating func record(
        _ row: [[UInt8]], _ place: RecordPlace, _ end: Int64, _ problem: String?
    ) throws -> Result<RawRecord, BadRecord>? {
        func bad(_ reason: String) -> Result<RawRecord, BadRecord> {
            .failure(BadRecord(place: place, reason: reason))
        }
        guard let header else {
            func refuse(_ why: String) -> StageError {
                StageError("bad_record", "\(place): \(why); the first row must name the columns")
            }
            if let problem { throw refuse(problem) }
            let names = row.compactMap { String(validating: $0, as: UTF8.self) }
            guard names.count == row.count else { throw refuse("the row is not valid UTF-8") }
            if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
                throw refuse("the column \"\(twice)\" is there twice")
            }
            header = names
            return nil
        }
        if let problem { return bad(problem) }
        guard row.count == header.count else {
            return bad("\(row.count) fields where the header has \(header.count)")
        }
        var fields: [(key: String, value: OrderedJSON)] = []
        fields.reserveCapacity(row.count)
        for (name, bytes) in zip(header, row) {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                return bad("the field \"\(name)\" is not valid UTF-8")
            }
            fields.append((name, .string(text)))
        }
        return .success(RawRecord(fields: fields, place: place, end: end))
    }
}

/// Splits CSV text that comes in blocks into rows.
struct CSVScanner {
    struct Row {
        var fields: [[UInt8]]
        /// The line the row begins on.
        var place: RecordPlace
        var end: Int64
        /// What is wrong with it.
        var problem: String?
    }

    private enum State {
        case fieldStart, plain, quoted
        /// Behind a quotation mark inside quotes: the end of the field, or the first half of a doubled one.
        case quote
    }

    private let file: String
    private var state = State.fieldStart
    private var field: [UInt8] = []
    private var fields: [[UInt8]] = []
    private var problem: String?
    private var isAfterReturn = false
    private var size = 0
    private var line = 1
    private var firstLine = 1
    private var position: Int64 = 0

    init(file: String) { self.file = file }

    mutating func read(_ block: Data, _ body: (Row) throws -> Void) throws {
        for byte in block {
            position += 1
            if position <= 3, byte == [0xEF, 0xBB, 0xBF][Int(position) - 1] { continue }
            if isAfterReturn {
                isAfterReturn = false
                if byte == UInt8(ascii: "\n") {
                    try finishRow(body)
                    continue
                }
                // A return of its own ends no row; it belongs to the field.
                append(UInt8(ascii: "\r"))
            }
            try read(byte, body)
            size += 1
            guard size <= LineReader.longestLine else {
                throw StageError(
                    "bad_record",
                    "\(file):\(firstLine): a record of more than \(LineReader.longestLine >> 20) MiB; "
                        + "is a quotation mark missing?")
            }
        }
    }

    private mutating func read(_ byte: UInt8, _ body: (Row) throws -> Void) throws {
        let quote = UInt8(ascii: "\"")
        switch (state, byte) {
        case (.quoted, quote): state = .quote
        case (.quoted, _):
            if byte == UInt8(ascii: "\n") { line += 1 }
            field.append(byte)
        case (.quote, quote):
            field.append(quote)
            state = .quoted
        case (.fieldStart, quote) where problem == nil: state = .quoted
        case (_, UInt8(ascii: ",")):
            fields.append(field)
            field.removeAll(keepingCapacity: true)
            state = .fieldStart
        case (_, UInt8(ascii: "\n")): try finishRow(body)
        case (_, UInt8(ascii: "\r")): isAfterReturn = true
        default: append(byte)
        }
    }

    private mutating func append(_ byte: UInt8) {
        if state == .quote, problem == nil { problem = "text behind the closing quotation mark of a field" }
        // A row that is broken here must not swallow the next ones for a quotation mark further on.
        state = .plain
        field.append(byte)
    }

    private mutating func finishRow(_ body: (Row) throws -> Void) throws {
        // A line without anything is none; an empty field in quotes is one.
        let isBlank = fields.isEmpty && field.isEmpty && state == .fieldStart
        line += 1
        defer {
            firstLine = line
            fields.removeAll(keepingCapacity: true)
            field.removeAll(keepingCapacity: true)
            problem = nil
            state = .fieldStart
            size = 0
        }
        guard !isBlank else { return }
        fields.append(field)
        try body(
            Row(fields: fields, place: RecordPlace(file: file, line: firstLine), end: position, problem: problem))
    }

    /// Says that the text ends here.
    mutating func finish(_ body: (Row) throws -> Void) throws {
        if isAfterReturn { isAfterReturn = false }
        if state == .quoted { problem = "the quotation mark that a field begins with is never closed" }
        try finishRow(body)
    }
}
