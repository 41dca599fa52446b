import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// Where templates and their tokens come from, what is refused, and what a hostile template may use.
struct ChatTemplateLoadingTests {
    private let messages: [OrderedJSON] = [.object([("role", .string("user")), ("content", .string("hi"))])]

    private func load(_ files: [String: String]) throws -> ChatTemplate? {
        let folder = try TemporaryFolder()
        for (name, text) in files {
            let file = folder.url.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        return try ChatTemplate.load(folder: folder.url)
    }

    private func text(_ files: [String: String], tools: [OrderedJSON]? = nil) throws -> String? {
        try load(files)?.render(messages: messages, tools: tools).text
    }

    private func outcome(_ template: String, limits: JinjaInterpreter.Limits = .init()) -> JinjaFailure? {
        do {
            _ = try ChatTemplateTests.render(template, limits: limits)
            return nil
        } catch {
            return error as? JinjaFailure
        }
    }

    @Test func precedenceOfFiles() throws {
        let configuration = #"{"chat_template": "configured"}"#
        #expect(try text([:]) == nil)
        #expect(try text(["tokenizer_config.json": "{}"]) == nil)
        #expect(try text(["tokenizer_config.json": #"{"chat_template": null}"#]) == nil)
        #expect(try text(["tokenizer_config.json": configuration]) == "configured")
        #expect(try text(["tokenizer_config.json": configuration, "chat_template.jinja": "file"]) == "file")
        let named = #"{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]}"#
        #expect(try text(["tokenizer_config.json": named]) == "d")
        #expect(try text(["tokenizer_config.json": named], tools: []) == "t")
        let folder = ["chat_template.jinja": "d", "additional_chat_templates/tool_use.jinja": "t"]
        #expect(try text(folder) == "d")
        #expect(try text(folder, tools: []) == "t")
        #expect(throws: TokenizerError.self) { try text(["additional_chat_templates/rag.jinja": "r"]) }
        // A folder's templates replace those of the configuration, as a whole.
        #expect(
            try text(["tokenizer_config.json": named, "chat_template.jinja": "file"], tools: []) == "file")
    }

    @Test func specialTokens() throws {
        let template = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ image_token }}|{{ sep_token is defined }}"
        let configuration = """
            {"bos_token": "<b>", "eos_token": {"__type": "AddedToken", "content": "<e>"}, "pad_token": null,
             "extra_special_tokens": {"image_token": "<i>"}, "added_tokens_decoder": {}}
            """
        let map = #"{"bos_token": "<m>", "pad_token": {"content": "<p>"}}"#
        let files = ["tokenizer_config.json": configuration, "chat_template.jinja": template]
        #expect(try text(files) == "<b>|<e>||<i>|False")
        // The map counts only beside a configuration without the added tokens, and then it wins.
        #expect(
            try text(files.merging(["special_tokens_map.json": map]) { $1 }) == "<b>|<e>||<i>|False")
        let older = configuration.replacing(#", "added_tokens_decoder": {}"#, with: "")
        #expect(
            try text([
                "tokenizer_config.json": older, "chat_template.jinja": template, "special_tokens_map.json": map,
            ]) == "<m>|<e>|<p>|<i>|False")
    }

    @Test func errorsNameTheFileAndTheLine() throws {
        let error = try #require(throws: TokenizerError.self) {
            try load(["chat_template.jinja": "a\nb\n{% if x %}\n{{ y | nope }}"])
        }
        #expect(error.code == .unsupported && error.file?.hasSuffix("chat_template.jinja") == true)
        #expect(error.message.contains("line 4") && error.message.contains("'nope'"), "\(error)")
        let raised = try #require(throws: TokenizerError.self) {
            try text(["chat_template.jinja": "a\n{{ raise_exception('no ' ~ messages[0].role) }}"])
        }
        #expect(raised.code == .templateRaised && raised.message.contains("line 2"), "\(raised)")
        #expect(raised.message.contains("no user"))
        #expect(throws: TokenizerError.self) { try ChatTemplate("x").render(messages: []) }
        #expect(throws: TokenizerError.self) { try ChatTemplate("x").render(messages: [.string("hi")]) }
        let big = [OrderedJSON.object([("content", .number(1e30))])]
        #expect(throws: TokenizerError.self) { try ChatTemplate("x").render(messages: big) }
    }

    @Test(arguments: [
        "{% include 'x' %}", "{% block b %}{% endblock %}", "{% extends 'x' %}", "{% import 'x' as y %}",
        "{% autoescape true %}{% endautoescape %}", "{{ 1|random }}", "{{ 'x'|urlize }}", "{{ 1|pprint }}",
        "{{ f(*x) }}", "{{ f(**x) }}", "{{ x[1, 2] }}", "{{ lipsum() }}", "{{ 'a'.encode() }}", "{{ 'a'.casefold() }}",
        "{{ '%e' % 1 }}", "{{ [1]|map('upper') }}", "{{ range }}", "{{ 2 ** 64 }}", "{{ self }}", "{{ '\\N{DASH}' }}",
    ])
    func unsupportedIsNamed(_ template: String) throws {
        let failure = try #require(outcome(template), "\(template) must be refused")
        #expect(failure.code == .unsupported && failure.line == 1, "\(template): \(failure)")
    }

    @Test(arguments: [
        // Work.
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        // Size.
        "{{ 'x' * 1000000000 }}", "{{ [1] * 1000000000 }}", "{{ 'x'|center(1000000000) }}",
        "{{ ('%999999d' % 1) * 999 }}",
        "{% set ns = namespace(s='xx') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for a in range(99) %}{% set n.s = n.s|replace('x', 'xxxxxxx') %}{% endfor %}",
        "{{ ('x ' * 9000000).split() }}", "{{ ('x ' * 9000000).split('x') }}", "{{ ('x ' * 9000000)|title|list }}",
        "{% set ns = namespace(s=[1]) %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for a in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
        "{% for a in range(99999) %}{{ 'xxxxxxxxxx' * 1000 }}{% endfor %}", "{{ 'a'|indent(1000000000, true) }}",
        "{{ ['a']|join(',')|batch(1000000000, 'x')|list }}", "{{ 'ab'.join('x' * 20000000) }}",
        // Depth.
        "{% set ns = namespace(s=[]) %}{% for a in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}",
        "{% set ns = namespace(s=[]) %}{% for a in range(99999) %}{% set ns.s = ns.s|map('upper') %}{% endfor %}",
        "{% set ns = namespace(s={}) %}{% for a in range(99999) %}{% set ns.s = {1: ns.s.get} %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    ])
    func hostileTemplatesEndInAnError(_ template: String) throws {
        // The bounds as they are, but for less work, so that the test is quick.
        let failure = try #require(
            outcome(template, limits: .init(steps: JinjaInterpreter.Limits().steps / 16)), "must be refused")
        #expect(failure.code == .templateLimit || failure.code == .templateFailed, "\(failure)")
    }

    @Test func deepSourcesAreRefused() throws {
        let count = 100_000
        func repeated(_ text: String) -> String { String(repeating: text, count: count) }
        for source in [
            "{{ " + repeated("(") + "1" + repeated(")") + " }}", "{{ " + repeated("[") + " }}",
            "{{ 1" + repeated("+1") + " }}", "{{ " + repeated("not ") + "1 }}", "{{ " + repeated("-") + "1 }}",
            "{{ x" + repeated(".a") + " }}", "{{ x" + repeated("|upper") + " }}", "{{ x" + repeated("[0]") + " }}",
            "{{ 1" + repeated(" if 1 else 1") + " }}", repeated("{% if 1 %}"), repeated("{% for a in b %}"),
            "{% set " + repeated("(") + "a", "{{ f" + repeated("()") + " }}", "{{ 1" + repeated(" and 1") + " }}",
        ] {
            let failure = try #require(outcome(source), "\(source.prefix(20))")
            #expect(failure.code == .templateLimit || failure.code == .templateSyntax, "\(failure)")
        }
        // Length without depth is fine.
        #expect(try ChatTemplateTests.render("{{ 1" + String(repeating: "~1", count: 5000) + " }}").count == 5001)
    }

    @Test func clock() throws {
        let template = try ChatTemplate("{{ strftime_now('%Y-%m-%d %% %B') }}")
        #expect(template.usesClock)
        let date = try #require(
            Calendar.current.date(from: DateComponents(year: 2024, month: 3, day: 9, hour: 12)))
        #expect(try template.render(messages: messages, clock: date).text == "2024-03-09 % March")
    }

    @Test func macrosDoNotKeepTheRenderAlive() throws {
        final class Witness {}
        weak var witness: Witness?
        do {
            let object = Witness()
            witness = object
            let held = JinjaValue.callable(
                try JinjaCallable { _, _ in
                    withExtendedLifetime(object) {}
                    return .none
                })
            let interpreter = JinjaInterpreter(variables: ["held": held], clock: Date(), limits: .init())
            try interpreter.run(
                try JinjaParser.parse(
                    "{% set h = held %}{% macro m() %}{{ h }}{% endmacro %}{% set ns = namespace(m=m, h=held) %}"
                        + "{% set ns.ns = ns %}{% for x in [1] %}{{ loop.changed(loop) }}{% endfor %}"))
        }
        #expect(witness == nil)
    }
}
