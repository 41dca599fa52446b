import Foundation
import Testing

@testable import PipelineSpec

@Suite struct ManifestSchemaTests {
    /// Every key of the full manifest of the design, in its order.
    static let keys = [
        "version", "name", "pipeline", "base", "task", "data.train", "data.exclude", "data.window", "data.sample",
        "data.validation",
        "data.test", "data.format",
        "data.columns",
        "data.train_on", "data.chat_template", "data.labels", "data.max_length", "data.overlength", "data.packing",
        "data.max_bad_records", "data.health.max_duplicates", "data.health.max_near_duplicates",
        "data.health.max_overlap", "data.health.max_length_drift", "data.health.max_label_drift",
        "data.health.max_personal", "adapter.method",
        "adapter.rank", "adapter.alpha", "adapter.dropout", "adapter.rslora", "adapter.targets", "adapter.names",
        "adapter.rank_pattern", "adapter.alpha_pattern", "adapter.modules_to_save", "train.epochs",
        "train.steps", "train.batch_tokens", "train.batch_size", "train.micro_batch", "train.learning_rate",
        "train.lr_schedule", "train.warmup", "train.weight_decay", "train.clip_norm", "train.precision",
        "train.gradient_checkpointing", "train.init", "train.replay", "train.seed", "train.early_stopping",
        "evaluate.metrics",
        "evaluate.suites", "evaluate.retention", "evaluate.samples", "merge", "gate", "notify", "run.queue",
        "run.priority", "run.retries", "run.timeout", "run.budget", "run.threads", "run.memory",
        "run.concurrency.key", "run.concurrency.on_conflict", "run.idempotency_key", "run.hold", "run.at", "run.after",
    ]

    @Test func everyKeyIsDeclared() {
        #expect(ManifestSchema.fields.map(\.path) == Self.keys)
        for field in ManifestSchema.fields {
            #expect(field.documentation.hasSuffix("."), "\(field.path)")
            if let other = field.excludes { #expect(ManifestSchema.field(other)?.excludes == field.path) }
        }
    }

    @Test func suggestionsNameKeysThatExist() {
        for (name, suggestion) in KeySuggestion.foreign {
            #expect(ManifestSchema.isKnown(suggestion.path), "\(name)")
        }
    }

    @Test func defaultsAreAccepted() throws {
        var parser = ValueParser()
        for field in ManifestSchema.fields {
            guard let value = field.defaultValue else { continue }
            let node = try DocumentReader().read(Data("{\"k\": \(value.text())}".utf8))
            let read = parser.parse(try #require(node["k"]), field.constraint, key: field.path)
            #expect(read == value, "\(field.path)")
        }
        #expect(parser.findings == [])
    }

    @Test func schemaIsJSONWithEveryKey() throws {
        let object = try JSONSerialization.jsonObject(with: ManifestSchema.jsonSchemaData)
        let root = try #require(object as? [String: Any])
        #expect(root["$schema"] as? String == "https://json-schema.org/draft/2020-12/schema")
        #expect((root["required"] as? [String])?.sorted() == ["base", "data", "name"])
        for key in Self.keys {
            var schema: JSONValue? = ManifestSchema.jsonSchema
            for word in key.split(separator: ".") {
                let inner = schema?["properties"]?[String(word)]
                // `data` is also files, so its keys are one of three forms.
                if case .array(let forms)? = inner?["anyOf"], word == "data" {
                    schema = forms.last
                } else {
                    schema = inner
                }
            }
            #expect(schema?["description"] != nil, "\(key)")
            let mappings = ["data.columns", "evaluate.suites", "adapter.rank_pattern", "adapter.alpha_pattern"]
            #expect(schema?["additionalProperties"] == nil || mappings.contains(key), "\(key)")
        }
        #expect(ManifestSchema.jsonSchema["additionalProperties"] == false)
        #expect(
            ManifestSchema.jsonSchema["properties"]?["train"]?["allOf"] == [
                ["not": ["required": ["epochs", "steps"]]], ["not": ["required": ["batch_size", "batch_tokens"]]],
            ]
                || ManifestSchema.jsonSchema["properties"]?["train"]?["allOf"] == [
                    ["not": ["required": ["batch_size", "batch_tokens"]]], ["not": ["required": ["epochs", "steps"]]],
                ])
        #expect(
            ManifestSchema.jsonSchema["properties"]?["adapter"]?["properties"]?["rank"] == [
                "type": "integer", "minimum": 1, "maximum": 1024, "default": 8,
                "description": "Rank of the update (PEFT's `r`).",
            ])
    }

    @Test func tableHasARowPerKey() {
        let rows = ManifestSchema.markdownTable.split(separator: "\n")
        #expect(rows.count == Self.keys.count + 2)
        #expect(rows.contains { $0.hasPrefix("| `adapter.rank` | a whole number 1…1024 | `8` |") })
        #expect(
            rows.contains { $0.hasPrefix("| `train.gradient_checkpointing` | auto or true or false | `\"auto\"` |") })
        for row in rows { #expect(row.replacing("\\|", with: "").filter { $0 == "|" }.count == 5) }
    }

    @Test func valuesAndConditions() {
        var manifest = JobManifest(name: "x", base: .folder("/b"))
        #expect(ManifestSchema.value(of: "train.steps", in: manifest) == .null)
        #expect(ManifestSchema.value(of: "nothing", in: manifest) == nil)
        manifest.train.duration = .steps(3)
        #expect(ManifestSchema.value(of: "train.steps", in: manifest) == 3)
        #expect(ManifestSchema.value(of: "run.concurrency", in: manifest)?["on_conflict"] == "coalesce")
    }

    @Test func distances() {
        #expect(KeySuggestion.distance("rank", "rnak") == 1)
        #expect(KeySuggestion.distance("", "abc") == 3)
        #expect(KeySuggestion.distance("kitten", "sitting") == 3)
        #expect(KeySuggestion.nearest("x", among: ["r", "rank"]) == nil)
    }
}
