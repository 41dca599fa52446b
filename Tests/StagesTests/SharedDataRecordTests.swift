import Foundation
import PipelineSpec
import TestSupport
import Testing
import Tokenizers
import Training

@testable import Stages

/// Data that people really have, read as `auto` reads it.
@Suite struct SharedDataRecordTests {
    private func read(_ path: String) throws -> RecordSupport.Found? {
        let parts = path.split(separator: "/", maxSplits: 1).map(String.init)
        guard let folder = try TestData.folder("datasets/\(parts[0])") else { return nil }
        return try RecordSupport.read(folder.appending(path: parts[1]))
    }

    @Test(
        arguments: [
            ("alpaca-en-demo/alpaca.json", "alpaca in JSON", 800), ("identity/identity.json", "alpaca in JSON", 91),
            ("chat-messages/alpaca_messages.jsonl", "chat in JSON lines", nil),
            ("chat-messages/sft_demo_messages.jsonl", "chat in JSON lines", nil),
            ("chat-messages/openai_toy_chat.jsonl", "chat in JSON lines", nil),
            ("chat-messages/chat_tiny.json", "chat in JSON", 1),
            ("chat-messages/glaive_toolcall_sharegpt.json", "chat in JSON", 100),
            ("banking77/train.csv", "classification in CSV", 10003),
            ("banking77/test.csv", "classification in CSV", 1540),
            ("sst2/dev.tsv", "classification in TSV", 435), ("sst2/train_first8000.tsv", "classification in TSV", 8000),
            ("dpo-en-demo/dpo.json", "preference in JSON", 60),
            ("dolly-sample/dolly.jsonl", "completion in JSON lines", 110),
            ("wikisql-text/train.jsonl", "text in JSON lines", nil),
            ("e2e-nlg/train.txt", "text, because the file is plain", nil),
            ("tinyshakespeare/input.txt", "text, because the file is plain", nil),
            ("mnist/test-1000-images-idx3-ubyte.gz", "images in IDX", 1000),
        ] as [(String, String, Int?)])
    func autoReadsEveryRecord(path: String, format: String, count: Int?) throws {
        guard let found = try read(path) else { return }
        #expect(found.reading.formats.values.first?.hasPrefix(format) == true, "\(found.reading.formats)")
        #expect(found.reading.badRecords.isEmpty, "\(found.reading.badRecords.prefix(3))")
        #expect(found.records.count > 0 && found.records.count == count ?? found.records.count)
    }

    @Test(arguments: ["clinc150-small/train_val.json", "dart/dev_first70.json", "self-instruct-seed/seed_tasks.jsonl"])
    func whatHasOtherFieldsIsRefusedOrReportedNotGuessed(path: String) throws {
        let error = #expect(throws: StageError.self) {
            if let found = try read(path) {
                throw StageError("read", "\(found.reading.formats) \(found.reading.badRecords.count)")
            }
            throw StageError("unknown_format", "no data, said loudly")
        }
        #expect(error?.code == "unknown_format", "\(error?.description ?? "")")
    }

    @Test func classesOfBankingAreComplete() throws {
        guard let found = try read("banking77/train.csv") else { return }
        let labels = try found.contents(LabelledText.self).map(\.label.text)
        #expect(ClassNames(found: Set(labels)).names.count == 77)
        // Fields with line breaks inside move the lines of what follows.
        #expect(try #require(found.records.last).place.line >= found.records.count)
    }

    /// Every answer of the data is learned, with the end of its turn, and nothing that a user says.
    @Test(arguments: ["sft_demo_messages.jsonl", "openai_toy_chat.jsonl", "glaive_toolcall_sharegpt.json"])
    func masksOfRealConversations(file: String) throws {
        guard let folder = try TestData.folder("tokenizers/qwen3"), let found = try read("chat-messages/\(file)") else {
            return
        }
        let encoder = try RecordSupport.encoder(folder, maxLength: 1 << 20)
        var checked = 0
        for record in found.records.prefix(60) {
            let chat = try #require(record.content as? ChatRecord)
            let encoded = try encoder.encode(record)
            // Conversations without an answer, or that the template does not keep whole, are not learned from.
            guard let example = encoded.examples.first else { continue }
            let runs = RecordSupport.learned(example, encoder.tokenizer)
            let answers = chat.messages.filter { $0.role == "assistant" }
            #expect(runs.components(separatedBy: "<|im_end|>").count - 1 == answers.count, "\(record.place)")
            for answer in answers {
                guard case .string(let text)? = answer.json["content"], !text.isEmpty else { continue }
                #expect(runs.contains(text.trimmingCharacters(in: .newlines)), "\(record.place): \(text)")
            }
            #expect(!runs.contains("<|im_start|>"))
            checked += 1
        }
        #expect(checked > 4)
    }

    @Test func aVeryLongAnswerIsDroppedAndItsNeighboursStay() throws {
        guard let folder = try TestData.folder("tokenizers/qwen3"),
            let found = try read("chat-messages/openai_toy_chat.jsonl")
        else { return }
        for overlength in [JobManifest.Overlength.drop, .truncate] {
            var data = JobManifest.Data()
            data.overlength = overlength
            let encoder = try RecordSupport.encoder(folder, data, maxLength: 1024)
            let encoded = try found.records.map { try encoder.encode($0) }
            #expect(encoded.contains { $0.length > 1024 })
            #expect(encoded.allSatisfy { $0.examples.allSatisfy { $0.ids.count <= 1024 && $0.targetCount > 0 } })
            #expect(encoded.contains { $0.word == "kept" })
        }
    }
}

/// How full the packs are that real data make.
@Suite struct PackingTests {
    /// Most conversations and instructions are short beside a pack, so nearly none of it stays empty.
    @Test(arguments: [
        [
            "chat-messages/alpaca_messages.jsonl", "chat-messages/sft_demo_messages.jsonl",
            "chat-messages/glaive_toolcall_sharegpt.json", "chat-messages/openai_toy_chat.jsonl",
        ],
        ["alpaca-en-demo/alpaca.json"],
    ])
    func lessThanTwoPercentOfThePacksIsEmpty(files: [String]) throws {
        guard let data = try TestData.folder("datasets"), let folder = try TestData.folder("tokenizers/qwen3") else {
            return
        }
        let encoder = try RecordSupport.encoder(folder, maxLength: 1024)
        let place = try TemporaryFolder()
        let writer = try TokenDatasetWriter(place.url.appending(path: "train.tokens"))
        for file in files {
            for record in try RecordSupport.read(data.appending(path: file)).records {
                for example in try encoder.encode(record).examples {
                    try writer.append(example.ids, scored: example.scored)
                }
            }
        }
        let dataset = try writer.finish()
        var manifest = JobManifest(name: "packed", base: .folder(folder.path))
        let packed = try StepForecast(dataset, manifest)
        manifest.data.packing = false
        let plain = try StepForecast(dataset, manifest)
        print(
            "packs of \(files[0]): \(dataset.count) sequences, \(dataset.tokenCount) tokens, "
                + String(
                    format: "%.2f%% empty, %.2f%% without packing", 100 - 100 * packed.fill, 100 - 100 * plain.fill))
        #expect(packed.fill > 0.98 && packed.fill > plain.fill, "\(packed.fill), \(plain.fill) without packing")
        #expect(packed.microBatches.allSatisfy { $0 <= 2048 })
    }
}
