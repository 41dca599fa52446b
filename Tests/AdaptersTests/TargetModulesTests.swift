import Foundation
import Layers
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// Expected values were found with Python's `re` and PEFT's rules.
@Suite struct TargetModulesTests {
    private let gpt2: any LanguageModel
    private let llama: any LanguageModel

    init() throws {
        gpt2 = try ModelRegistry.load(folder: Fixtures.folder("golden/gpt2"))
        llama = try ModelRegistry.load(folder: Fixtures.folder("golden/llama"))
    }

    private func paths(_ targets: TargetModules, _ model: any LanguageModel) throws -> [String] {
        try targets.match(in: model).projections.map(\.path)
    }

    private func read(_ json: String) throws -> PEFTConfiguration {
        try PEFTConfiguration(Data("{\"peft_type\": \"LORA\", \(json)}".utf8), file: "adapter_config.json")
    }

    @Test func namesMatchWholePathsAndLastComponents() throws {
        #expect(
            try paths(.list(["c_proj"]), gpt2) == [
                "transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj", "transformer.h.1.attn.c_proj",
                "transformer.h.1.mlp.c_proj",
            ])
        #expect(
            try paths(.list(["mlp.c_proj", "transformer.h.1.attn.c_attn"]), gpt2) == [
                "transformer.h.0.mlp.c_proj", "transformer.h.1.attn.c_attn", "transformer.h.1.mlp.c_proj",
            ])
        #expect(throws: AdapterError.self, "a name is no part of a component") { try paths(.list(["proj"]), gpt2) }
        #expect(try TargetModules.list(["c_attn", "q_proj"]).match(in: gpt2).unusedNames == ["q_proj"])
    }

    @Test func everythingLinearAndTheDefault() throws {
        #expect(try paths(TargetModules(.allLinear), gpt2) == gpt2.projections.map(\.path))
        #expect(try paths(TargetModules(.allLinear), llama).count == 14)
        #expect(
            try paths(TargetModules(.architectureDefault), llama) == [
                "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj",
                "model.layers.1.self_attn.v_proj",
            ])
    }

    @Test func patternsMatchWholePaths() throws {
        let targets = try TargetModules(.names(.pattern(#".*\.1\..*(q|v)_proj"#)))
        #expect(try paths(targets, llama) == ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"])
        #expect(throws: AdapterError.self) { try paths(TargetModules(.names(.pattern("q_proj"))), llama) }
    }

    @Test func exclusionsWin() throws {
        var targets = try TargetModules(.allLinear, excluding: .list(["mlp.c_proj", "transformer.h.0.attn.c_attn"]))
        #expect(
            try paths(targets, gpt2) == [
                "transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_fc", "transformer.h.1.attn.c_attn",
                "transformer.h.1.attn.c_proj", "transformer.h.1.mlp.c_fc",
            ])
        targets = try TargetModules(.names(.list(["c_attn"])), excluding: .pattern(#".*\.0\..*"#))
        #expect(try paths(targets, gpt2) == ["transformer.h.1.attn.c_attn"])
    }

    @Test func layersHoldBackNamesButNotWholePaths() throws {
        let all = [String]()
        for (patterns, expected) in [
            (all, ["transformer.h.1.attn.c_attn"]), (["h"], ["transformer.h.1.attn.c_attn"]),
            (["layers", "h"], ["transformer.h.1.attn.c_attn"]),
        ] {
            #expect(
                try paths(TargetModules(.names(.list(["c_attn"])), layers: [1], layerPatterns: patterns), gpt2)
                    == expected)
        }
        #expect(throws: AdapterError.self) {
            try paths(TargetModules(.names(.list(["c_attn"])), layers: [1], layerPatterns: ["layers"]), gpt2)
        }
        let whole = try TargetModules(.names(.list(["transformer.h.0.attn.c_attn", "c_fc"])), layers: [1])
        #expect(try paths(whole, gpt2) == ["transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_fc"])
        #expect(try paths(TargetModules(.names(.list(["c_fc"])), layers: []), gpt2).count == 2)
    }

    @Test func combinationsPEFTRefusesAreRefused() {
        #expect(throws: AdapterError.self) { try TargetModules(.names(.pattern(".*")), layers: [0]) }
        #expect(throws: AdapterError.self) { try TargetModules(.names(.list(["c_fc"])), layerPatterns: ["h"]) }
    }

    @Test func noMatchNamesWhatThereIs() throws {
        let error = #expect(throws: AdapterError.self) { try paths(.list(["q_proj"]), gpt2) }
        #expect(error?.code == .noMatchingModule)
        for name in ["q_proj", "c_attn", "c_fc", "c_proj", "transformer.h.0.attn.c_attn"] {
            #expect(error?.description.contains(name) == true)
        }
    }

    /// PEFT would adapt these too, or fail; leaving them out in silence would be another adapter than was asked for.
    @Test(arguments: ["ln_1", "attn"]) func modulesThatCannotBeAdaptedAreNamed(name: String) throws {
        let error = #expect(throws: AdapterError.self) { try paths(.list(["c_attn", name]), gpt2) }
        #expect(error?.code == .unsupported && error?.description.contains(name) == true)
    }

    @Test func choicesAreWrittenAsWhatTheyChose() throws {
        func written(_ targets: TargetModules, _ model: any LanguageModel) throws -> JSONValue? {
            let configuration = PEFTConfiguration(method: try LoRA(), targets: targets)
            let text = configuration.text(for: try targets.match(in: model), in: model)
            let read = try PEFTConfiguration(Data(text.utf8), file: "written")
            #expect(try paths(read.targets, model) == paths(targets, model), "\(targets)")
            return try JSONValue(Data(text.utf8), file: "written")["target_modules"]
        }
        func list(_ names: String...) -> JSONValue { .array(names.map { .string($0) }) }
        #expect(try written(TargetModules(.allLinear), gpt2) == list("c_attn", "c_fc", "c_proj"))
        #expect(try written(TargetModules(.architectureDefault), llama) == list("q_proj", "v_proj"))
        #expect(try written(.list(["v_proj", "q_proj"]), llama) == list("q_proj", "v_proj"))
        #expect(try written(TargetModules(.names(.pattern(".*c_fc"))), gpt2) == .string(".*c_fc"))
        // A last component would name an excluded module too.
        #expect(
            try written(TargetModules(.allLinear, excluding: .list(["c_attn", "c_fc", "mlp.c_proj"])), gpt2)
                == list("transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"))
        #expect(
            try written(TargetModules(.allLinear, layers: [1]), gpt2)
                == list(
                    "transformer.h.1.attn.c_attn", "transformer.h.1.attn.c_proj", "transformer.h.1.mlp.c_fc",
                    "transformer.h.1.mlp.c_proj"))
        #expect(try written(TargetModules(.allLinear, excluding: .list(["c_proj"])), gpt2) == list("c_attn", "c_fc"))
        #expect(
            try written(TargetModules(.names(.list(["c_fc"])), excluding: .list(["h.0.mlp.c_fc"])), gpt2)
                == list("c_fc"))
        #expect(
            try written(TargetModules(.names(.list(["c_fc"])), layers: [0], layerPatterns: ["h"]), gpt2) == list("c_fc")
        )
    }

    @Test func configurationsSayTheSame() throws {
        #expect(try read(#""target_modules": "all-linear""#).targets.selection == .allLinear)
        #expect(try read(#""target_modules": null"#).targets.selection == .architectureDefault)
        #expect(try read(#""target_modules": ["a"], "layers_to_transform": 3"#).targets.layers == [3])
        #expect(
            try read(#""target_modules": ["a"], "layers_to_transform": [3, 4], "layers_pattern": "h""#).targets
                .layerPatterns
                == ["h"])
        #expect(try read(#""target_modules": ["a"], "exclude_modules": "b.*""#).targets.excluded == .pattern("b.*"))
        #expect(throws: AdapterError.self) { try read(#""target_modules": 3"#) }
        #expect(throws: AdapterError.self) { try read(#""target_modules": [3]"#) }
    }
}

@Suite struct ModulePatternTests {
    /// Pattern, path, whether `re.fullmatch` matches.
    @Test(arguments: [
        (#"a.c"#, "abc", true), (#"a\.c"#, "abc", false), (#"a|b"#, "b", true), (#"a|bc"#, "ac", false),
        (#"ab*"#, "abbb", true), (#"(a|b){2,3}"#, "abab", false), (#"a{,2}"#, "aa", true), (#"a{,2}"#, "a{,2}", false),
        (#"a{x}"#, "a{x}", true), (#"a{}"#, "a{}", true), (#"[]a]+"#, "]a", true), (#"[[a]"#, "[", true),
        (#"[^0-9]"#, "5", false), (#"[\w-]+"#, "a-b", true), (#"[a&&b]"#, "&", true), (#"[-a]+"#, "a-", true),
        (#"[+--]"#, ",", true), (#"(?P<layer>\d+)"#, "12", true), (#"(?:x)(?=y)y"#, "xy", true),
        (#"(?!x)."#, "x", false),
        (#"h\.\d+\.attn"#, "h.12.attn", true), (#".*?_proj"#, "a.q_proj", true), (#"^a$"#, "a", true),
        (#"a\Z"#, "a", true),
        (#"a b#c"#, "a b#c", true), (#"a]}"#, "a]}", true), (#"\-\_"#, "-_", true), (#""#, "", true),
        (#"a|ab"#, "ab", true), (#"(a|ab)(c|bcd)"#, "abcd", true), (#"[\]\\]+"#, #"]\"#, true),
    ])
    func meansWhatPythonMeans(pattern: String, path: String, expected: Bool) throws {
        #expect(try ModulePattern(matchingAllOf: pattern).matches(path) == expected)
    }

    @Test(arguments: [
        "(a", "a)", "[a", "*a", "a**", "a*+", "a++", "(?i)a", "(?<=a)b", "(?P=x)", #"(a)\1"#, #"\p{L}"#, "a\\",
        #"\Qa\E"#,
        "(?<n>a)", "(?#c)a", "(?>a)", #"\x41"#, "(|*)", #"[\d-z]"#, "[z-a]", "a{3,1}",
    ])
    func whatIsNotCertainIsRefused(pattern: String) {
        let error = #expect(throws: AdapterError.self) { try ModulePattern(matchingAllOf: pattern) }
        #expect(error?.description.contains(pattern) == true)
    }

    @Test func keysMatchTheEndOfAPath() throws {
        func matches(_ key: String, _ path: String) throws -> Bool {
            try ModulePattern(matchingEndOf: key).matches(path)
        }
        #expect(try matches("q_proj", "model.layers.1.self_attn.q_proj"))
        #expect(try !matches("_proj", "model.q_proj"))
        #expect(try matches("a|b", "x.b") && matches("q_proj", "q_proj"))
        #expect(try !matches("self_attn", "model.self_attn.q_proj"))
    }

    @Test func layerNumberIsTheFirst() throws {
        let path = "model.layers.3.experts.5.w1"
        #expect(try ModulePattern(layerNumberAfter: nil).firstGroup(in: path) == "3")
        #expect(try ModulePattern(layerNumberAfter: "experts").firstGroup(in: path) == "5")
        #expect(try ModulePattern(layerNumberAfter: "layer.").firstGroup(in: path) == "3")
        #expect(try ModulePattern(layerNumberAfter: "h").firstGroup(in: path) == nil)
        #expect(throws: AdapterError.self) { try ModulePattern(layerNumberAfter: "(h|layers)") }
    }
}
