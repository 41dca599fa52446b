import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing
import Tokenizers

@testable import Stages

/// Records of texts that a test writes, and encoders for them.
enum RecordSupport {
    /// What the files hold, with broken records in their place.
    struct Found {
        var records: [Record] = []
        var reading = RecordReading()

        func contents<Content>(_ type: Content.Type) throws -> [Content] {
            try records.map { try #require($0.content as? Content) }
        }
    }

    static func read(
        _ bytes: Data, named name: String, _ data: JobManifest.Data = JobManifest.Data(), passageBytes: Int = 40
    ) throws -> Found {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: name)
        try bytes.write(to: file)
        return try read(file, data, passageBytes: passageBytes)
    }

    static func read(
        _ text: String, named name: String, _ data: JobManifest.Data = JobManifest.Data()
    ) throws -> Found {
        try read(Data(text.utf8), named: name, data)
    }

    /// Reads a file with any number of broken records.
    static func read(
        _ file: URL, _ data: JobManifest.Data = JobManifest.Data(), passageBytes: Int = 4096
    ) throws -> Found {
        var data = data
        data.maxBadRecords = .max
        var found = Found()
        var reading = RecordReading()
        try RecordSource(data: data, passageBytes: passageBytes).forEachRecord(
            in: Digest.pin(paths: [file.path]), &reading
        ) { found.records.append($0) }
        found.reading = reading
        return found
    }

    /// A file as gzip whose blocks are stored as they are.
    static func gzip(_ bytes: Data) -> Data {
        func little(_ value: UInt32, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(value >> (8 * $0) & 0xFF) } }
        var out = Data([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
        var rest = bytes[...]
        repeat {
            let block = rest.prefix(0xFFFF)
            rest = rest.dropFirst(block.count)
            out.append(contentsOf: [rest.isEmpty ? 1 : 0] + little(UInt32(block.count), 2))
            out.append(contentsOf: little(~UInt32(block.count), 2))
            out.append(block)
        } while !rest.isEmpty
        var sum = UInt32.max
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
        }
        out.append(contentsOf: little(~sum, 4) + little(UInt32(bytes.count), 4))
        return out
    }

    static func encoder(
        _ folder: URL, _ data: JobManifest.Data = JobManifest.Data(), maxLength: Int = 4096
    ) throws -> ExampleEncoder {
        let tokenizer = try Tokenizer.load(folder: folder)
        return try ExampleEncoder(
            folder: folder, tokenizer: tokenizer, vocabularySize: max(tokenizer.vocabularySize, 200_000),
            maxLength: maxLength, data: data)
    }

    /// The one example of a record.
    static func example(_ content: any RecordContent, _ encoder: ExampleEncoder) throws -> EncodedExample {
        let encoded = try encoder.encode(record(content))
        return try #require(encoded.examples.first, "\(encoded.outcome)")
    }

    static func record(_ content: any RecordContent) -> Record {
        Record(content: content, place: RecordPlace(file: "a.jsonl", line: 7), end: 0)
    }

    /// The learned tokens as text; runs of them are parted by `|`.
    static func learned(_ example: EncodedExample, _ tokenizer: Tokenizer) -> String {
        var runs: [[Int32]] = [[]]
        for (index, id) in example.ids.enumerated() {
            if example.scored?[index] ?? true {
                runs[runs.count - 1].append(id)
            } else if runs.last?.isEmpty == false {
                runs.append([])
            }
        }
        return runs.filter { !$0.isEmpty }.map { tokenizer.decode($0, skipSpecialTokens: false) }.joined(separator: "|")
    }
}

extension EncodedRecord {
    /// The outcome as a word.
    var word: String {
        switch outcome {
        case .kept: "kept"
        case .truncated: "truncated"
        case .overlength: "overlength"
        case .nothingToLearn: "nothing"
        case .bad(let bad): "bad: \(bad)"
        }
    }
}
