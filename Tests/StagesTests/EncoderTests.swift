import Foundation
import PipelineSpec
import TestSupport
import Testing
import Tokenizers
import Training

@testable import Stages

/// What is learned of a record, shown by decoding the learned tokens.
@Suite struct EncoderTests {
    private func qwen() throws -> URL? { try TestData.folder("tokenizers/qwen3") }
    private func plain() throws -> URL? { try TestData.folder("tokenizers/gpt2") }

    private func settings(_ change: (inout JobManifest.Data) -> Void) -> JobManifest.Data {
        var data = JobManifest.Data()
        change(&data)
        return data
    }

    private func chat(_ turns: [(String, String)]) -> ChatRecord {
        ChatRecord(messages: turns.map { ChatMessage($0.0, $0.1) }, tools: nil)
    }

    private let talk = [
        ("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "See you."),
    ]

    @Test func answersAreLearnedWithTheEndOfTheirTurn() throws {
        guard let folder = try qwen() else { return }
        let encoder = try RecordSupport.encoder(folder)
        let example = try RecordSupport.example(chat(talk), encoder)
        let learned = RecordSupport.learned(example, encoder.tokenizer)
        #expect(learned.contains("Hello.<|im_end|>") && learned.contains("See you.<|im_end|>"))
        #expect(!learned.contains("Hi") && !learned.contains("kind") && !learned.contains("assistant"))
    }

    @Test func otherRolesAreLearnedWhereAskedFor() throws {
        guard let folder = try plain() else { return }
        let encoder = try RecordSupport.encoder(
            folder,
            settings {
                $0.trainOn = ["user"]
                $0.chatTemplate = .chatml
            })
        let learned = RecordSupport.learned(try RecordSupport.example(chat(talk), encoder), encoder.tokenizer)
        #expect(learned.contains("Hi<|im_end|>") && learned.contains("Bye<|im_end|>"), "\(learned)")
        #expect(!learned.contains("Hello") && !learned.contains("kind"))
        let unlearned = chat([("system", "s"), ("assistant", "a")])
        #expect(try encoder.encode(RecordSupport.record(unlearned)).word == "nothing")
    }

    @Test func aMessageOfWeightZeroIsOnlyRead() throws {
        guard let folder = try qwen() else { return }
        let line = """
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "first", "weight": 0}, \
            {"role": "user", "content": "r"}, {"role": "assistant", "content": "second"}]}
            """
        let record = try #require(try RecordSupport.read(line, named: "a.jsonl").records.first)
        let encoder = try RecordSupport.encoder(folder)
        let encoded = try encoder.encode(record)
        let learned = RecordSupport.learned(try #require(encoded.examples.first), encoder.tokenizer)
        #expect(learned.contains("second") && !learned.contains("first"))
    }

    @Test func aTemplateThatWritesTheBeginTokenGetsNoSecondOne() throws {
        guard let llama = try TestData.folder("tokenizers/llama3.2"),
            let templates = try TestData.folder("tokenizers/chat-templates")
        else { return }
        let folder = try TemporaryFolder()
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(
                at: llama.appending(path: name), to: folder.url.appending(path: name))
        }
        try FileManager.default.copyItem(
            at: templates.appending(path: "meta-llama-Llama-3.1-8B-Instruct.jinja"),
            to: folder.url.appending(path: "chat_template.jinja"))
        let encoder = try RecordSupport.encoder(folder.url)
        let begin = try #require(encoder.tokenizer.bosTokenID)
        let example = try RecordSupport.example(chat(talk), encoder)
        #expect(example.ids.count { $0 == begin } == 1 && example.ids.first == begin)
        #expect(RecordSupport.learned(example, encoder.tokenizer) == "Hello.<|eot_id|>|See you.<|eot_id|>")
    }

    @Test func aBaseWithoutATemplateSaysWhatToDoOrTakesChatML() throws {
        guard let folder = try plain() else { return }
        let without = try RecordSupport.encoder(folder)
        let error = #expect(throws: StageError.self) { try without.encode(RecordSupport.record(chat(talk))) }
        #expect(error?.code == "no_chat_template" && error?.description.contains("data.chat_template: chatml") == true)
        let encoder = try RecordSupport.encoder(folder, settings { $0.chatTemplate = .chatml })
        let example = try RecordSupport.example(chat(talk), encoder)
        #expect(
            RecordSupport.learned(example, encoder.tokenizer)
                == "Hello.<|im_end|>\n|See you.<|im_end|>\n"
                + (encoder.tokenizer.eosTokenID.flatMap { encoder.tokenizer.token(of: $0) } ?? ""))
    }

    @Test func alpacaFollowsTheBase() throws {
        guard let base = try plain(), let chatBase = try qwen() else { return }
        let record = AlpacaRecord(system: nil, history: [], instruction: "Add.", input: "1 2", output: "Three.")
        let text = try RecordSupport.encoder(base)
        let ids = try RecordSupport.example(record, text)
        #expect(RecordSupport.learned(ids, text.tokenizer).hasPrefix("Three."))
        #expect(text.tokenizer.decode(ids.ids, skipSpecialTokens: true) == record.prompt + "Three.")
        let chat = try RecordSupport.encoder(chatBase)
        let turns = try RecordSupport.example(record, chat)
        #expect(chat.tokenizer.decode(turns.ids, skipSpecialTokens: false).contains("user\nAdd.\n1 2<|im_end|>"))
        #expect(RecordSupport.learned(turns, chat.tokenizer).contains("Three.<|im_end|>"))
    }

    @Test func theNameOfAClassIsLearnedAndItsIndexKept() throws {
        guard let folder = try plain() else { return }
        let encoder = try RecordSupport.encoder(folder, settings { $0.labels = ["bad", "good"] })
        let example = try RecordSupport.example(LabelledText(text: "Nice.", pair: nil, label: .index(1)), encoder)
        #expect(example.label == .class(1) && RecordSupport.learned(example, encoder.tokenizer).hasPrefix(" good"))
        let encoded = try encoder.encode(
            RecordSupport.record(LabelledText(text: "Nice.", pair: "Or?", label: .name("ugly"))))
        #expect(encoded.word == "bad: a.jsonl:7: the label \"ugly\" is none of data.labels (bad, good)")
    }

    @Test func aHeadForClassesReadsTheTextAlone() throws {
        guard let folder = try TestData.folder("tokenizers/bert-base-uncased") else { return }
        var encoder = try RecordSupport.encoder(folder, settings { $0.labels = ["bad", "good"] }, maxLength: 12)
        encoder.task = .sequenceClassification
        let one = try RecordSupport.example(LabelledText(text: "Nice.", pair: nil, label: .name("good")), encoder)
        #expect(encoder.tokenizer.decode(one.ids, skipSpecialTokens: false) == "[CLS] nice. [SEP]")
        #expect(one.label == .class(1) && one.targetCount == 1 && one.types == nil)
        #expect(one.scored == Array(repeating: false, count: one.ids.count))
        let two = try RecordSupport.example(LabelledText(text: "Nice.", pair: "Or?", label: .index(0)), encoder)
        #expect(encoder.tokenizer.decode(two.ids, skipSpecialTokens: false) == "[CLS] nice. [SEP] or? [SEP]")
        #expect(two.types == [0, 0, 0, 0, 1, 1, 1] && two.label == .class(0))
        // Both texts are cut at their ends, the longer one first.
        encoder = try RecordSupport.encoder(
            folder, settings { ($0.labels, $0.overlength) = (["bad", "good"], .truncate) }, maxLength: 12)
        encoder.task = .sequenceClassification
        let long = LabelledText(
            text: "one two three four five six seven eight nine ten", pair: "a b c d", label: .name("bad"))
        let cut = try encoder.encode(RecordSupport.record(long))
        #expect(cut.word == "truncated" && cut.length == 17)
        let kept = try #require(cut.examples.first)
        #expect(
            encoder.tokenizer.decode(kept.ids, skipSpecialTokens: false)
                == "[CLS] one two three four five [SEP] a b c d [SEP]")
        let error = #expect(throws: StageError.self) {
            try encoder.encode(RecordSupport.record(RunningText(text: "No class.")))
        }
        #expect(error?.code == "unsupported" && error?.description.contains("a.jsonl:7") == true)
    }

    @Test func preferencesAreTwoSequencesForThoseWhoCompare() throws {
        guard let folder = try qwen() else { return }
        var encoder = try RecordSupport.encoder(folder)
        let text = RecordSupport.record(PreferredText(prompt: "2+2 is", chosen: " four", rejected: " five"))
        let error = #expect(throws: StageError.self) { try encoder.encode(text) }
        #expect(error?.code == "unsupported")
        encoder.comparesExamples = true
        let pair = try encoder.encode(text).examples
        #expect(pair.count == 2)
        #expect(RecordSupport.learned(pair[0], encoder.tokenizer).hasPrefix(" four"))
        #expect(RecordSupport.learned(pair[1], encoder.tokenizer).hasPrefix(" five"))
        let chat = PreferredChat(
            prompt: talk.dropLast().map { ChatMessage($0.0, $0.1) }, chosen: [ChatMessage("assistant", "Good.")],
            rejected: [ChatMessage("assistant", "Bad.")], tools: nil)
        let chats = try encoder.encode(RecordSupport.record(chat)).examples
        #expect(RecordSupport.learned(chats[0], encoder.tokenizer).contains("Good.<|im_end|>"))
        #expect(!RecordSupport.learned(chats[0], encoder.tokenizer).contains("Hello."))
        #expect(RecordSupport.learned(chats[1], encoder.tokenizer).contains("Bad.<|im_end|>"))
    }

    @Test func imagesAreRefusedWithWhatTheyAreFor() throws {
        guard let folder = try plain() else { return }
        let encoder = try RecordSupport.encoder(folder)
        let error = #expect(throws: StageError.self) {
            try encoder.encode(RecordSupport.record(LabelledImage(source: .path("a.png"), label: .name("cat"))))
        }
        #expect(error?.code == "unsupported" && error?.description.contains("vision models") == true)
    }

    // MARK: Other tasks

    private func bert(
        _ task: JobManifest.Task, maxLength: Int = 64, _ change: (inout JobManifest.Data) -> Void = { _ in }
    ) throws -> ExampleEncoder? {
        guard let folder = try TestData.folder("tokenizers/bert-base-uncased") else { return nil }
        var encoder = try RecordSupport.encoder(folder, settings(change), maxLength: maxLength)
        encoder.task = task
        return encoder
    }

    @Test func theFirstTokenOfAWordHasItsTag() throws {
        guard let encoder = try bert(.tokenClassification, { $0.labels = ["O", "PER", "LOC"] }) else { return }
        let words = ["Wolfgang", "unbelievably", "", "reached", "U.S.", "New York", "."]
        let tags: [ClassLabel?] = [.name("PER"), .name("O"), .name("O"), nil, .index(2), .name("LOC"), .name("O")]
        let example = try RecordSupport.example(TaggedText(words: words, tags: tags), encoder)
        guard case .tokens(let indices)? = example.label else {
            Issue.record("no tags")
            return
        }
        let tokens = example.ids.map { encoder.tokenizer.token(of: $0) ?? "" }
        #expect(tokens.first == "[CLS]" && tokens.last == "[SEP]" && indices.count == tokens.count)
        let judged = indices.indices.filter { indices[$0] >= 0 }
        // The empty word has no token, and one is not to be judged; of each other word it is the first token.
        #expect(judged.map { tokens[$0] } == ["wolfgang", "un", "u", "new", "."])
        #expect(judged.map { indices[$0] } == [1, 0, 2, 2, 0])
        #expect(tokens.contains("##bly") && example.targetCount == 5)
        let unknown = try encoder.encode(RecordSupport.record(TaggedText(words: ["a"], tags: [.name("X")])))
        #expect(unknown.word == "bad: a.jsonl:7: the label \"X\" is none of data.labels (O, PER, LOC)")
    }

    @Test func wordsAreLeftOutAtTheEnd() throws {
        let words = (0..<40).map { "number\($0)" }
        let text = TaggedText(words: words, tags: words.map { _ in .index(0) })
        guard
            let encoder = try bert(
                .tokenClassification, maxLength: 20, { ($0.labels, $0.overlength) = (["O", "X"], .truncate) })
        else { return }
        let encoded = try encoder.encode(RecordSupport.record(text))
        let example = try #require(encoded.examples.first)
        #expect(encoded.word == "truncated" && (17...20).contains(example.ids.count) && example.targetCount > 3)
        #expect(encoder.tokenizer.decode(example.ids, skipSpecialTokens: true).hasPrefix("number0 number1"))
    }

    @Test func tokensThatStandForNoTextAreNeverHidden() throws {
        guard let encoder = try bert(.maskedLM, maxLength: 6) else { return }
        let encoded = try encoder.encode(RecordSupport.record(RunningText(text: "one two three four five six")))
        #expect(encoded.examples.map(\.ids.count) == [6, 2])
        #expect(encoded.examples[0].scored == [false, true, true, true, true, true])
        #expect(encoded.examples[1].scored == [true, false])
    }

    @Test func eachTextOfAPairIsMeasuredByItself() throws {
        guard let encoder = try bert(.embedding, maxLength: 6, { $0.overlength = .truncate }) else { return }
        let pair = TextPair(first: "one two three", second: "four five", score: 0.5)
        let example = try RecordSupport.example(pair, encoder)
        #expect(
            encoder.tokenizer.decode(example.ids, skipSpecialTokens: false)
                == "[CLS] one two three [SEP] [CLS] four five [SEP]")
        #expect(example.types == [0, 0, 0, 0, 0, 1, 1, 1, 1] && example.label == .values([0.5]))
        #expect(example.targetCount == 1)
        let long = TextPair(first: "one two three four five six", second: "seven", score: nil)
        let cut = try encoder.encode(RecordSupport.record(long))
        #expect(cut.word == "truncated" && cut.length == 8 && cut.examples.first?.label == .class(0))
        #expect(cut.examples.first?.types == [0, 0, 0, 0, 0, 0, 1, 1, 1])
    }

    @Test func aTaskTakesOnlyWhatItCanLearnFrom() throws {
        guard let encoder = try bert(.embedding) else { return }
        let error = #expect(throws: StageError.self) {
            try encoder.encode(RecordSupport.record(RunningText(text: "a")))
        }
        let text = error?.description ?? ""
        #expect(error?.code == "unsupported" && text.contains("a.jsonl:7") && text.contains("embedding"), "\(text)")
        #expect(text.contains("{anchor, positive}"))
    }

    // MARK: What is too long

    @Test func aPromptLosesItsBeginningAndTheAnswerNothing() throws {
        guard let folder = try plain() else { return }
        let prompt = (0..<50).map { "number \($0)" }.joined(separator: " ")
        let long = RecordSupport.record(PromptedText(prompt: prompt, completion: " That is all."))
        func encoder(_ overlength: JobManifest.Overlength, _ length: Int) throws -> ExampleEncoder {
            try RecordSupport.encoder(folder, settings { $0.overlength = overlength }, maxLength: length)
        }
        let cut = try encoder(.truncate, 20)
        let encoded = try cut.encode(long)
        let example = try #require(encoded.examples.first)
        #expect(encoded.word == "truncated" && encoded.length > 100 && example.ids.count == 20)
        #expect(RecordSupport.learned(example, cut.tokenizer).hasPrefix(" That is all."))
        #expect(cut.tokenizer.decode(example.ids, skipSpecialTokens: true).hasSuffix("number 49 That is all."))
        #expect(try encoder(.truncate, 4).encode(long).word == "overlength")
        #expect(try encoder(.drop, 20).encode(long).word == "overlength")
        let error = #expect(throws: StageError.self) { try encoder(.error, 20).encode(long) }
        #expect(error?.code == "overlength" && error?.description.hasPrefix("a.jsonl:7") == true)
    }

    @Test func aConversationLosesWholeTurns() throws {
        guard let folder = try qwen() else { return }
        let words = String(repeating: "word ", count: 60)
        let turns = (0..<6).flatMap { [("user", "question \($0)"), ("assistant", "answer \($0) \(words)end \($0)")] }
        func encode(_ turns: [(String, String)], _ length: Int) throws -> (EncodedRecord, String) {
            let encoder = try RecordSupport.encoder(folder, settings { $0.overlength = .truncate }, maxLength: length)
            let encoded = try encoder.encode(RecordSupport.record(chat([("system", "Be kind.")] + turns)))
            let text = encoded.examples.first.map { encoder.tokenizer.decode($0.ids, skipSpecialTokens: false) } ?? ""
            return (encoded, text)
        }
        let (encoded, text) = try encode(turns, 260)
        #expect(encoded.word == "truncated" && encoded.examples.allSatisfy { $0.ids.count <= 260 })
        #expect(text.contains("Be kind.") && text.contains("end 5<|im_end|>") && text.contains("question 4"))
        #expect(!text.contains("question 0") && !text.contains("answer 0"))
        // A last answer that is itself too long goes, and what came before it stays.
        let (shorter, rest) = try encode(
            turns + [("user", "more"), ("assistant", words + words + words + words + words)], 260)
        #expect(shorter.word == "truncated" && rest.contains("end 5<|im_end|>") && !rest.contains("more"))
        let (gone, _) = try encode([("user", "more"), ("assistant", words + words + words + words + words)], 260)
        #expect(gone.word == "overlength")
    }
}
