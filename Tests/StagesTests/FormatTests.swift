import Foundation
import PipelineSpec
import TestSupport
import Testing
import Tokenizers

@testable import Stages

@Suite struct FormatTests {
    private func data(_ format: JobManifest.DataFormat, _ columns: [String: String] = [:]) -> JobManifest.Data {
        var data = JobManifest.Data()
        data.format = format
        data.columns = columns
        return data
    }

    @Test(arguments: [
        ("{\"text\": \"a\"}", "text", "\"text\""),
        ("{\"prompt\": \"a\", \"completion\": \"b\", \"text\": \"c\"}", "completion", "\"prompt\", \"completion\""),
        ("{\"prompt\": \"a\", \"answer\": \"b\"}", "completion", "\"prompt\", \"answer\""),
        ("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "chat", "\"messages\""),
        ("{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]}", "chat", "\"conversations\""),
        (
            "{\"instruction\": \"a\", \"output\": \"b\", \"input\": \"\"}", "alpaca",
            "\"instruction\", \"output\", \"input\""
        ),
        ("{\"text\": \"a\", \"label\": 1}", "classification", "\"text\", \"label\""),
        (
            "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": \"x\"}", "classification",
            "\"sentence1\", \"sentence2\", \"label\""
        ),
        ("{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}", "preference", "\"chosen\", \"rejected\""),
        (
            "{\"image\": \"AA==\", \"height\": 1, \"width\": 1, \"label\": 1}", "images", "\"image\", \"label\""
        ),
        ("{\"tokens\": [\"a\"], \"ner_tags\": [0]}", "tagged", "\"tokens\", \"ner_tags\""),
        ("{\"text\": \"a\", \"tokens\": 3, \"tags\": [\"x\"]}", "text", "\"text\""),
        ("{\"anchor\": \"a\", \"positive\": \"b\"}", "pairs", "\"anchor\", \"positive\""),
        (
            "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": 0.5}", "pairs",
            "\"sentence1\", \"sentence2\", \"score\""
        ),
    ])
    func autoNamesWhatItChoseAndWhy(line: String, format: String, fields: String) throws {
        let found = try RecordSupport.read("not JSON\n\(line)\n", named: "a.jsonl")
        #expect(found.records.count == 1 && found.reading.badRecords.count == 1)
        #expect(
            found.reading.formats.values.first
                == "\(format) in JSON lines, because the first record has \(fields)")
    }

    @Test(arguments: [
        (JobManifest.DataFormat.tagged, "{\"tokens\": [\"a\", \"b\"], \"tags\": [1]}", "2 words and 1 tags"),
        (.tagged, "{\"tokens\": [\"a\", 2], \"tags\": [1, 1]}", "word 2 of \"tokens\" is not a string"),
        (.tagged, "{\"tokens\": \"a b\", \"tags\": [1]}", "not a list"),
        (.tagged, "{\"tokens\": [\"a\"]}", "\"tags\" is missing"),
        (.pairs, "{\"anchor\": \"a\"}", "\"positive\" is missing"),
        (.pairs, "{\"anchor\": \"a\", \"positive\": \"\"}", "\"positive\" is empty"),
        (.pairs, "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": 3.8}", "from -1 to 1"),
        (.images, "{\"image\": \"no.png\", \"label\": 1}", "there is no image no.png"),
        (.images, "{\"image\": \"AAEC\", \"height\": 2, \"width\": 2, \"label\": 1}", "base64 of 2 times 2"),
    ])
    func brokenRecordsOfOtherTasksSayWhy(format: JobManifest.DataFormat, line: String, reason: String) throws {
        let found = try RecordSupport.read(line, named: "a.jsonl", data(format))
        #expect(found.records.isEmpty && found.reading.badRecords.first?.contains(reason) == true, "\(found.reading)")
    }

    @Test func tagsAndScoresAreRead() throws {
        let tagged = try #require(
            try RecordSupport.read(
                "{\"words\": [\"a\", \"b\", \"c\"], \"tags\": [\"X\", -100, null]}", named: "a.jsonl",
                data(.tagged)
            ).contents(TaggedText.self).first)
        #expect(
            tagged.words == ["a", "b", "c"] && tagged.tags == [.name("X"), nil, nil] && tagged.labels == [.name("X")])
        let columns = ["score": "label"]
        let pairs = try RecordSupport.read(
            "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": 0.5}", named: "a.jsonl", data(.auto, columns))
        #expect(try pairs.contents(TextPair.self).map(\.score) == [0.5])
    }

    @Test func autoRefusesWithWhatItSawAndWhatItKnows() throws {
        let error = #expect(throws: StageError.self) {
            try RecordSupport.read("{\"frage\": 1, \"antwort\": 2}\n", named: "a.jsonl")
        }
        let text = try #require(error?.description)
        #expect(error?.code == "unknown_format")
        for part in ["a.jsonl:1", "\"frage\", \"antwort\"", "{prompt, completion}", "data.columns"] {
            #expect(text.contains(part), "\(text)")
        }
        let columns = ["prompt": "frage", "completion": "antwort"]
        let found = try RecordSupport.read(
            "{\"frage\": \"a\", \"antwort\": \"b\"}", named: "a.jsonl", data(.auto, columns))
        #expect(try found.contents(PromptedText.self).map(\.completion) == ["b"])
    }

    @Test(arguments: [
        ("{\"messages\": []}", "no messages"), ("{\"messages\": 3}", "not a list but an integer"),
        ("{\"text\": \"a\"}", "\"messages\" is missing"),
        ("{\"messages\": [{\"content\": \"a\"}]}", "messages[0]: a message has neither"),
        ("{\"messages\": [{\"role\": \"wizard\", \"content\": \"a\"}]}", "\"wizard\" is not known"),
        ("{\"messages\": [{\"role\": \"user\"}]}", "has no content"),
        ("{\"messages\": [{\"role\": \"user\", \"content\": [{\"image\": 1}]}]}", "only text"),
        ("{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"weight\": 2}]}", "neither 0 nor 1"),
        ("{\"conversations\": [{\"from\": \"function_call\", \"value\": \"f(x)\"}]}", "is not JSON"),
        ("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": \"[\"}", "tools are not JSON"),
    ])
    func brokenConversationsSayWhy(line: String, reason: String) throws {
        let found = try RecordSupport.read(line, named: "a.jsonl", data(.chat))
        #expect(found.records.isEmpty && found.reading.badRecords.first?.contains(reason) == true, "\(found.reading)")
    }

    @Test func shareGPTBecomesWhatTemplatesRead() throws {
        let line = """
            {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": \
            "{\\"name\\": \\"f\\", \\"arguments\\": {\\"x\\": 1}}"}, {"from": "observation", "value": "3"}, \
            {"from": "gpt", "value": "a"}], "tools": "[{\\"name\\": \\"f\\"}]"}
            """
        let chat = try #require(
            try RecordSupport.read(line, named: "a.jsonl").contents(ChatRecord.self).first)
        #expect(chat.messages.map(\.role) == ["system", "user", "assistant", "tool", "assistant"])
        let call = "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}"
        #expect(
            chat.messages[2].json.compactText == "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[\(call)]}")
        #expect(chat.tools?.map(\.compactText) == ["{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"])
    }

    @Test func argumentsInAStringBecomeAnObject() throws {
        let line = """
            {"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", \
            "function": {"name": "f", "arguments": "{\\"x\\": [1]}"}}]}]}
            """
        let chat = try #require(try RecordSupport.read(line, named: "a.jsonl").contents(ChatRecord.self).first)
        #expect(chat.messages[0].json.compactText.contains("\"arguments\":{\"x\":[1]}"))
        #expect(chat.messages[0].json.compactText.contains("\"id\":\"1\""))
    }

    @Test(arguments: [
        ("{\"instruction\": \"a\", \"output\": \"\"}", "output is empty"),
        ("{\"instruction\": \"\", \"input\": \"\", \"output\": \"b\"}", "instruction is empty"),
        ("{\"instruction\": \"a\", \"output\": \"b\", \"history\": [[\"q\"]]}", "pairs of texts"),
        ("{\"instruction\": \"a\"}", "\"output\" is missing"),
    ])
    func brokenInstructionsSayWhy(line: String, reason: String) throws {
        let found = try RecordSupport.read(line, named: "a.jsonl", data(.alpaca))
        #expect(found.reading.badRecords.first?.contains(reason) == true, "\(found.reading)")
    }

    @Test func alpacaHasStanfordsPromptAndAConversation() throws {
        let plain = AlpacaRecord(system: nil, history: [], instruction: "Add.", input: "", output: "3")
        #expect(
            plain.prompt == "Below is an instruction that describes a task. Write a response that appropriately "
                + "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n")
        let full = AlpacaRecord(
            system: "Be brief.", history: [.init(question: "q", answer: "a")], instruction: "Add.", input: "1 2",
            output: "3")
        #expect(
            full.prompt == "Be brief.\n\n### Instruction:\nq\n\n### Response:\na\n\n### Instruction:\nAdd.\n\n"
                + "### Input:\n1 2\n\n### Response:\n")
        #expect(full.conversation.messages.map(\.role) == ["system", "user", "assistant", "user", "assistant"])
        #expect(full.conversation.messages[3].json.compactText.contains("Add.\n1 2"))
    }

    @Test func classesHaveAStableOrder() throws {
        #expect(ClassNames(found: ["b", "10", "a", "9"]).names == ["9", "10", "a", "b"])
        let names = ClassNames(["negative", "positive"])
        #expect(try names.resolve(.index(1)).name == "positive" && names.resolve(.name("negative")).index == 0)
        #expect(throws: UnusableRecord.self) { try names.resolve(.index(2)) }
        #expect(throws: UnusableRecord.self) { try names.resolve(.number(0.5)) }
        #expect(throws: UnusableRecord.self) { try names.resolve(.name("other")) }
        let found = try RecordSupport.read("text,category\na,x\nb,1\nc,\n", named: "a.csv")
        #expect(try found.contents(LabelledText.self).map(\.label) == [.name("x"), .index(1)])
        #expect(found.reading.badRecords.first?.contains("label is empty") == true)
    }

    @Test func preferencesAreTextsOrMessagesOrSharePrompts() throws {
        let lines = """
            {"prompt": "p", "chosen": "a", "rejected": "b"}
            {"conversations": [{"from": "human", "value": "p"}], "chosen": {"from": "gpt", "value": "a"}, \
            "rejected": {"from": "gpt", "value": "b"}}
            {"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], \
            "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}]}
            {"prompt": "p", "chosen": "a"}
            {"chosen": "a", "rejected": "b"}
            """
        let found = try RecordSupport.read(lines, named: "a.jsonl")
        #expect(found.records.count == 3 && found.records[0].content is PreferredText)
        for record in found.records.dropFirst() {
            let chat = try #require(record.content as? PreferredChat)
            #expect(chat.prompt.count == 1 && chat.chosen.count == 1 && chat.rejected.count == 1)
        }
        #expect(found.reading.badRecords.map { $0.contains("missing") } == [true, true])
    }
}
