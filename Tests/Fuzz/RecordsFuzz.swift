import Foundation
import PipelineSpec
import Tokenizers

/// Feeds bytes to the scanners of JSON and CSV, whole and in small blocks: both must find the same records or the same
/// error, in bounded time and memory; and every object to the formats.
///
/// Built together with the sources of `Sources/Stages/Records` and `StageError.swift` as one module, so that internal
/// names are in reach. The first byte says which scanner it is.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRecords(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let bytes, count > 1 else { return 0 }
    let text = Data(UnsafeBufferPointer(start: bytes + 1, count: count - 1))
    func read(_ size: Int) -> [String] { bytes[0] & 1 == 0 ? readJSON(text, size) : readCSV(text, size) }
    let whole = read(text.count)
    let parts = read(1 + Int(bytes[0]) % 7)
    precondition(whole == parts, "blocks change what is read")
    return 0
}

private func blocks(_ text: Data, _ size: Int) -> [Data] {
    stride(from: 0, to: text.count, by: size).map { Data(text.dropFirst($0).prefix(size)) }
}

private func readJSON(_ text: Data, _ size: Int) -> [String] {
    var found: [String] = []
    func note(_ result: Result<RawRecord, BadRecord>) {
        switch result {
        case .failure(let bad): found.append("\(bad)")
        case .success(let record):
            found.append("\(record.place) \(record.end) " + OrderedJSON.object(record.fields).compactText)
            let fields = RecordFields(values: record.fields, columns: [:])
            for format in RecordFormats.all where format.recognise(fields) != nil {
                if let content = try? format.read(fields) { found.append(content.identity) }
            }
        }
    }
    var scanner = JSONElementScanner(file: "f")
    do {
        for block in blocks(text, size) { try scanner.read(block, note) }
        try scanner.finish(note)
    } catch {
        found.append("\(error)")
    }
    return found
}

private func readCSV(_ text: Data, _ size: Int) -> [String] {
    var found: [String] = []
    var scanner = CSVScanner(file: "f")
    func note(_ row: CSVScanner.Row) {
        precondition(!row.fields.isEmpty && row.place.line > 0, "a row without fields")
        found.append("\(row.place) \(row.end) \(row.problem ?? "") \(row.fields)")
    }
    do {
        for block in blocks(text, size) { try scanner.read(block, note) }
        try scanner.finish(note)
    } catch {
        found.append("\(error)")
    }
    return found
}
