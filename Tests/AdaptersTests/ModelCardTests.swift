import Testing

@testable import Adapters

@Suite struct ModelCardTests {
    @Test func headIsPEFTsAndBodyIsFilled() {
        let card = ModelCard(
            title: "support-tone", base: "models/qwen3-0.6b",
            sections: [
                .init(
                    "Evaluation",
                    .table(header: ["metric", "base", "adapter"], rows: [["loss", "3.1", "2.4"], ["a|b", "1", "2"]])),
                .init("Lineage", .list([("data", "sha256:abc"), ("seed", "42")])),
                .init("Command", .code("echo ```", language: "sh")), .init("Note", .text("Trained on CPU.")),
            ])
        #expect(
            card.text == """
                ---
                base_model: models/qwen3-0.6b
                library_name: peft
                pipeline_tag: text-generation
                tags:
                - 'base_model:adapter:models/qwen3-0.6b'
                - lora
                - transformers
                ---

                # support-tone

                ## Evaluation

                | metric | base | adapter |
                | --- | ---: | ---: |
                | loss | 3.1 | 2.4 |
                | a\\|b | 1 | 2 |

                ## Lineage

                - **data:** sha256:abc
                - **seed:** 42

                ## Command

                ````sh
                echo ```
                ````

                ## Note

                Trained on CPU.

                """)
        #expect(!card.text.contains("More Information Needed"))
    }

    @Test(arguments: [
        ("gpt2", "gpt2"), ("a b", "'a b'"), ("it's", "'it''s'"), ("", "''"), ("1e5", "'1e5'"), ("null", "'null'"),
        ("a: b", "'a: b'"), ("/models/x", "/models/x"), ("-x", "'-x'"), ("../x", "'../x'"),
    ])
    func scalarsAreQuotedWhereYAMLWouldReadSomethingElse(base: String, expected: String) {
        let card = ModelCard(title: "x", base: base, sections: [])
        #expect(card.text.contains("\nbase_model: \(expected)\n"))
    }

    @Test func checkpointsHaveNoAdapterTag() {
        let card = ModelCard(title: "x", base: "gpt2", library: "transformers", tags: [], sections: [])
        #expect(card.text.contains("library_name: transformers\n") && card.text.contains("'base_model:finetune:gpt2'"))
        #expect(!ModelCard(title: "x", base: nil, sections: []).text.contains("base_model"))
    }
}
