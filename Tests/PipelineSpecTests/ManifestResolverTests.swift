import Foundation
import Testing

@testable import PipelineSpec

@Suite struct ManifestResolverTests {
    let fixture: WorkspaceFixture

    init() throws { fixture = try WorkspaceFixture.shared.get() }

    @Test func threeLinesAreAWholeJob() throws {
        let job = try fixture.resolve(WorkspaceFixture.manifest())
        let root = fixture.root
        let expected: JSONValue = [
            "version": 1, "name": "support-tone", "pipeline": "finetune", "base": .string(root + "models/tiny"),
            "task": "auto",
            "data": [
                "train": [.string(root + "data/*.jsonl")], "exclude": [], "window": .null, "sample": .null,
                "validation": "5%",
                "test": "5%", "format": "auto",
                "columns": [:], "train_on": ["assistant"], "chat_template": "model", "labels": [], "max_length": 1024,
                "overlength": "drop", "packing": true, "max_bad_records": 0,
                "health": [
                    "max_duplicates": .null, "max_near_duplicates": .null, "max_overlap": .null,
                    "max_length_drift": .null, "max_label_drift": .null, "max_personal": .null,
                ],
            ],
            "adapter": [
                "method": "lora", "rank": 8, "alpha": 16, "dropout": 0, "rslora": false, "targets": "all-linear",
                "names": "transformers5", "rank_pattern": [:], "alpha_pattern": [:], "modules_to_save": [],
            ],
            "train": [
                "epochs": 3, "batch_tokens": 4096, "micro_batch": "auto", "learning_rate": .number(2e-4),
                "lr_schedule": "cosine", "warmup": "3%", "weight_decay": 0, "clip_norm": 1, "precision": "auto",
                "gradient_checkpointing": "auto", "init": "base", "replay": .null, "seed": 42,
                "early_stopping": ["metric": "loss", "patience": 3],
            ],
            "evaluate": ["metrics": ["loss"], "suites": [:], "retention": .null, "samples": 0], "merge": false,
            "gate": .null, "notify": .null,
            "run": [
                "queue": "default", "priority": 0, "retries": 2, "timeout": "8h", "budget": .null, "threads": 2,
                "memory": "auto",
                "concurrency": ["key": "tenant/name", "on_conflict": "coalesce"], "idempotency_key": .null,
                "hold": false, "at": .null, "after": [],
            ],
        ]
        #expect(ManifestSchema.canonical(job.manifest) == expected)
        #expect(job.origins.filter { $0.value == .manifest }.keys.sorted() == ["base", "data.train", "name"])
        #expect(job.origins["train.epochs"] == .default)
        #expect(job.origins["train.steps"] == nil)
        #expect(job.origins["gate"] == .default)
        #expect(job.pipeline.stages.map(\.name) == ["tokenize", "train", "evaluate", "merge", "package"])
    }

    @Test func preferencesAreTokenizedAndNotTrainedOn() throws {
        let manifest = WorkspaceFixture.manifest().replacing("data: ", with: "data:\n  format: preference\n  train: ")
        let finding = try #require(try fixture.findings(manifest).first)
        #expect(finding.code == .unsupported && finding.pointer == "/data/format" && finding.line != nil)
        let own = try WorkspaceFixture()
        try own.write("ws/Pipelines/tokens.yaml", "version: 1\nname: tokens\nstages: {tokenize: {uses: tokenize}}\n")
        #expect(try own.resolve(manifest + "pipeline: tokens\n").manifest.data.format == .preference)
    }

    /// A vocabulary without a `tokenizer.json` is enough; half of one is not.
    @Test(arguments: [
        (["tokenizer.model"], true), (["vocab.json", "merges.txt"], true), (["vocab.txt"], true),
        (["x.tiktoken"], true),
        (["vocab.json"], false), (["tokenizer_config.json"], false),
    ])
    func anyWholeVocabularyIsATokenizer(names: [String], isEnough: Bool) throws {
        let own = try WorkspaceFixture()
        try FileManager.default.removeItem(atPath: own.root + "models/tiny/tokenizer.json")
        for name in names { try own.write("ws/models/tiny/\(name)", "{}") }
        let findings = try own.findings(WorkspaceFixture.manifest())
        #expect(findings.map(\.code) == (isEnough ? [] : [.baseIncomplete]))
    }

    @Test func everyKeyIsRead() throws {
        let job = try fixture.resolve(
            """
            version: 1
            name: a.b-c_1
            pipeline: pretrain
            base: models/tiny
            task: causal-lm
            data:
              train: [data/a.jsonl, data/deep/**/*.jsonl]
              exclude: data/b.jsonl
              window: null
              validation: data/b.jsonl
              test: 12.5%
              format: completion
              columns: {prompt: question, completion: answer}
              train_on: assistant
              chat_template: chatml
              labels: [bad, good]
              max_length: 512
              overlength: error
              packing: false
              max_bad_records: 7
              sample: 50%
              health: {max_duplicates: 5%, max_near_duplicates: 100%, max_overlap: 0%, max_length_drift: 12.5%,
                       max_label_drift: null, max_personal: 3}
            adapter: {method: lora, rank: 16, alpha: 32, dropout: 0.1, rslora: true, targets: [q_proj, v_proj],
                      names: transformers4, rank_pattern: {'layers\\.1\\..*': 4, v_proj: 2}, alpha_pattern: {q_proj: 0.5},
                      modules_to_save: lm_head}
            train:
              steps: 500
              batch_size: 8
              micro_batch: 2
              learning_rate: 1e-5
              lr_schedule: wsd
              warmup: 10
              weight_decay: 1.0e-2
              clip_norm: .5
              precision: fp32
              gradient_checkpointing: auto
              init: base
              replay: null
              seed: 7
              early_stopping: null
            evaluate: {metrics: loss, suites: {faq: {data: data/b.jsonl, metrics: [rougeL, loss]}}, retention: data/b.jsonl, samples: 2}
            merge: {dtype: bf16}
            gate: null
            notify: null
            run:
              queue: default
              priority: -5
              retries: 0
              timeout: 6h30m
              budget: {wall: 4h, by: "06:00"}
              threads: 4
              memory: auto
              concurrency: {key: mine, on_conflict: replace}
              idempotency_key: night
              hold: true
              at: 2027-01-31T02:30
              after: [01ARZ3NDEKTSV4RRFFQ69G5FAV, "01arz3ndektsv4rrffq69g5faw:any"]
            """)
        let m = job.manifest
        #expect(m.base == .folder(fixture.root + "models/tiny"))
        #expect(m.task == .causalLM)
        #expect(m.data.validation == .files([fixture.root + "data/b.jsonl"]))
        #expect(m.data.test == .fraction(0.125))
        #expect(m.data.columns == ["prompt": "question", "completion": "answer"])
        #expect(m.data.trainOn == ["assistant"] && m.data.chatTemplate == .chatml && m.data.labels == ["bad", "good"])
        let health = m.data.health
        #expect(health.maxDuplicates == 0.05 && health.maxNearDuplicates == 1 && health.maxOverlap == 0)
        #expect(health.maxLengthDrift == 0.125 && health.maxLabelDrift == nil && health.maxPersonal == 3)
        #expect(m.adapter.method == .lora)
        #expect(m.adapter.targets == .suffixes(["q_proj", "v_proj"]) && m.adapter.names == .transformers4)
        #expect(
            m.adapter.rankPattern == [#"layers\.1\..*"#: 4, "v_proj": 2] && m.adapter.alphaPattern == ["q_proj": 0.5])
        #expect(m.adapter.modulesToSave == ["lm_head"])
        #expect(
            JobManifest.Adapter.ordered(m.adapter.rankPattern).map(\.pattern) == [#"layers\.1\..*"#, "v_proj"],
            "the longest first")
        #expect(m.train.duration == .steps(500))
        #expect(m.train.batchSize == 8)
        #expect(m.train.learningRate == 1e-5)
        #expect(m.train.warmup == .steps(10))
        #expect(m.train.earlyStopping == nil)
        #expect(m.merge == JobManifest.Merge(dtype: .bf16))
        #expect(m.run.timeoutSeconds == 23_400)
        #expect(m.run.concurrencyKey == "mine")
        #expect(m.run.notBefore == 1_801_359_000)  // 01:30 UTC
        #expect(m.run.after == ["01ARZ3NDEKTSV4RRFFQ69G5FAV:ok", "01ARZ3NDEKTSV4RRFFQ69G5FAW:any"])
        #expect(job.origins["train.batch_tokens"] == nil)
        let written = ManifestSchema.fields.filter { job.origins[$0.path] == .default }
        #expect(written.map(\.path) == [])

        // The canonical form is a manifest that gives the same job.
        let again = try fixture.resolver().resolve(ManifestSchema.canonicalJSON(of: m))
        #expect(again.manifest == m)
        let decoded = try JSONDecoder().decode(JobManifest.self, from: try JSONEncoder().encode(m))
        #expect(decoded == m)
    }

    @Test func aBaseDrawnAtRandomTrainsEveryWeight() throws {
        let text = "name: x\nbase: {config: models/tiny, init: random}\ndata: data/a.jsonl\n"
        let drawn = try fixture.resolve(text).manifest
        #expect(drawn.base == .random(config: fixture.root + "models/tiny") && drawn.adapter.method == .full)
        #expect(try fixture.resolver().resolve(ManifestSchema.canonicalJSON(of: drawn)).manifest == drawn)
        #expect(try fixture.resolve(WorkspaceFixture.manifest()).manifest.adapter.method == .lora)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let text: String
        let places: [Place]
        let hint: String?
        var testDescription: String { text }

        /// Lines behind the three that make a job; the fourth is the first of `more`.
        init(_ more: String, _ code: String, _ line: Int, _ column: Int, hint: String? = nil) {
            text = WorkspaceFixture.manifest(more)
            places = [Place(code, line, column)]
            self.hint = hint
        }

        init(whole: String, _ code: String, _ line: Int?, _ column: Int?, hint: String? = nil) {
            text = whole
            places = [Place(code, line, column)]
            self.hint = hint
        }
    }

    static let values: [Case] = [
        Case("adapter: {rank: eight}", "wrong_type", 4, 17),
        Case("adapter: {rank: \"8\"}", "wrong_type", 4, 17, hint: "leave out the quotation marks"),
        Case("adapter: {rank: 0}", "out_of_range", 4, 17),
        Case("adapter: {rank: 1025}", "out_of_range", 4, 17),
        Case("adapter: {rank: 8.5}", "wrong_type", 4, 17),
        Case("adapter: {rank: }", "wrong_type", 4, 17),
        Case("adapter: {rank: [8]}", "wrong_type", 4, 17),
        Case("adapter: {alpha: 0}", "out_of_range", 4, 18),
        Case("adapter: {dropout: 1}", "out_of_range", 4, 20),
        Case("adapter: {dropout: .nan}", "out_of_range", 4, 20),
        Case("adapter: {rslora: yes}", "wrong_type", 4, 19, hint: "write true"),
        Case("adapter: {targets: all}", "invalid_value", 4, 20, hint: "write all-linear"),
        Case("adapter: {targets: []}", "invalid_value", 4, 20),
        Case("adapter: {targets: \"(q_proj\"}", "invalid_value", 4, 20),
        Case("adapter: {method: dora}", "unsupported", 4, 19),
        Case("adapter: {method: lorra}", "invalid_value", 4, 19, hint: "did you mean lora?"),
        Case("adapter: lora", "wrong_type", 4, 10, hint: "write adapter: {method: …}"),
        Case("train: {epochs: 0}", "out_of_range", 4, 17),
        Case("train: {epochs: .inf}", "out_of_range", 4, 17),
        Case("train: {steps: 1.5}", "wrong_type", 4, 16),
        Case("train: {epochs: 3, steps: 500}", "conflict", 4, 27),
        Case("train: {batch_size: 3, batch_tokens: 500}", "conflict", 4, 38),
        Case("train: {learning_rate: 0}", "out_of_range", 4, 24),
        Case("train: {learning_rate: 2e}", "wrong_type", 4, 24),
        Case("train: {batch_tokens: 4_096}", "wrong_type", 4, 23, hint: "write 4096"),
        Case("train: {micro_batch: big}", "wrong_type", 4, 22),
        Case("train: {micro_batch: 0}", "out_of_range", 4, 22),
        Case("train: {warmup: 0.03}", "wrong_type", 4, 17, hint: "write 3%"),
        Case("train: {warmup: 101%}", "out_of_range", 4, 17),
        Case("train: {warmup: -1}", "wrong_type", 4, 17),
        Case("train: {precision: fp16}", "invalid_value", 4, 20),
        Case("train: {precision: bf16}\nadapter: {method: full}", "conflict", 4, 20),
        Case("train: {seed: -1}", "out_of_range", 4, 15),
        Case("train: {seed: 99999999999999999999}", "out_of_range", 4, 15),
        Case("train: {lr_schedule: cosin}", "invalid_value", 4, 22, hint: "did you mean cosine?"),
        Case("train: {early_stopping: {patience: 0}}", "out_of_range", 4, 36),
        Case("train: {early_stopping: {patiance: 3}}", "unknown_key", 4, 26, hint: "did you mean patience?"),
        Case("train: {early_stopping: {metric: accuracy}}", "unsupported", 4, 34),
        Case("train: {early_stopping: off}", "wrong_type", 4, 25, hint: "write false"),
        Case("train: {gradient_checkpointing: unsloth}", "wrong_type", 4, 33),
        Case("train: {replay: 100%}", "out_of_range", 4, 17),
        Case("train: {init: production}\nadapter: {method: full}", "conflict", 4, 15),
        Case("run: {memory: 8}", "wrong_type", 4, 15), Case("run: {memory: 0B}", "invalid_value", 4, 15),
        Case("run: {timeout: 8}", "wrong_type", 4, 16, hint: "write the unit: 8s for seconds"),
        Case("run: {timeout: 8 hours}", "wrong_type", 4, 16),
        Case("run: {timeout: 30m6h}", "wrong_type", 4, 16),
        Case("run: {timeout: 0s}", "out_of_range", 4, 16),
        Case("run: {priority: 101}", "out_of_range", 4, 17),
        Case("run: {threads: 0}", "out_of_range", 4, 16),
        Case("run: {hold: no}", "wrong_type", 4, 13, hint: "write false"),
        Case("run: {at: tomorrow}", "invalid_value", 4, 11),
        Case("run: {at: 2027-02-30T02:30}", "invalid_value", 4, 11),
        Case("run: {after: [nonsense]}", "invalid_value", 4, 15),
        Case("run: {after: 01ARZ3NDEKTSV4RRFFQ69G5FAV:maybe}", "invalid_value", 4, 14),
        Case("run: {queue: gpu}", "unknown_queue", 4, 14, hint: "one of default"),
        Case("run: {queue: defualt}", "unknown_queue", 4, 14, hint: "did you mean default?"),
        Case("run: {concurrency: {on_conflict: wait}}", "invalid_value", 4, 34),
        Case("merge: yes", "wrong_type", 4, 8, hint: "write true"),
        Case("merge: {dtype: int8}", "invalid_value", 4, 16),
        Case("evaluate: {metrics: [loss, rouge]}", "invalid_value", 4, 28, hint: "did you mean rouge1?"),
        Case("evaluate: {suites: [faq]}", "wrong_type", 4, 20),
        Case("evaluate: {metrics: [loss, acc]}", "unsupported", 4, 28, hint: "suites of multiple choice have it"),
        Case("evaluate: {suites: {faq: {metrics: loss}}}", "missing_key", 4, 21),
        Case("evaluate: {suites: {faq: {data: data/none.jsonl}}}", "path_not_found", 4, 33),
        Case(
            "evaluate: {suites: {faq: {data: data/a.jsonl, metric: loss}}}", "unknown_key", 4, 47,
            hint: "did you mean metrics?"),
        Case("evaluate: {retention: /etc/passwd}", "path_outside_roots", 4, 23),
        Case("gate: true", "wrong_type", 4, 7),
        Case("gate: latest", "invalid_value", 4, 7, hint: "latest is always the newest version"),
        Case("gate: {metric: los}", "invalid_value", 4, 16, hint: "did you mean loss?"),
        Case("gate: {confidence: 100%}", "out_of_range", 4, 20),
        Case("gate: {min_improvement: much}", "wrong_type", 4, 25),
        Case("gate: {max_regression: {retension: 1%}}", "unknown_key", 4, 25, hint: "did you mean retention?"),
        Case("gate: {max_regression: {suite.faq: 1}}", "wrong_type", 4, 36),
        Case("gate: {on_fail: drop}", "invalid_value", 4, 17),
        Case("evaluate: {metrics: []}", "invalid_value", 4, 21),
        Case("version: 2", "out_of_range", 4, 10),
        Case("pipeline: finetun", "pipeline_not_found", 4, 11, hint: "did you mean finetune?"),
        Case("pipeline: ../x", "invalid_value", 4, 11),
        Case(whole: "name: a b\nbase: models/tiny\ndata: data/a.jsonl", "invalid_value", 1, 7),
        Case(whole: "name: .x\nbase: models/tiny\ndata: data/a.jsonl", "invalid_value", 1, 7),
        Case(whole: "base: models/tiny\ndata: data/a.jsonl", "missing_key", 1, 1, hint: "write name: my-adapter"),
        Case(whole: "name: x\ndata: data/a.jsonl", "missing_key", 1, 1),
        Case(whole: "name: x\nbase: models/tiny", "missing_key", 1, 1),
        Case(whole: "name: x\nbase: models/tiny\ndata:\n  test: 5%", "missing_key", 4, 3),
        Case(
            whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, test: 0.05}", "wrong_type", 3, 35,
            hint: "write 5%"),
        Case(whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, test: 100%}", "out_of_range", 3, 35),
        Case(
            whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, format: preference}", "unsupported", 3, 37),
        Case(
            whole: "name: x\nbase: models/tiny\ntask: masked-lm\ndata: {train: data/a.jsonl, format: chat}",
            "unsupported",
            3, 7, hint: "it reads text"),
        Case(
            whole:
                "name: x\nbase: models/tiny\ntask: sequence-regression\ndata: {train: data/a.jsonl, labels: [low, high]}",
            "unsupported", 4, 37),
        Case(whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, format: csv}", "invalid_value", 3, 37),
        Case(
            whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, train_on: [users]}", "invalid_value", 3, 40),
        Case(
            whole: "name: x\nbase: models/tiny\ndata: {train: data/a.jsonl, columns: {promt: q}}", "unknown_key", 3, 39,
            hint: "did you mean prompt?"),
        Case(whole: "name: x\nbase: models/tiny\ndata: []", "invalid_value", 3, 7),
        Case(whole: "name: x\nbase: {config: models/tiny}\ndata: data/a.jsonl", "invalid_value", 2, 7),
        Case(whole: "name: x\nbase: {init: random}\ndata: data/a.jsonl", "missing_key", 2, 7),
        Case(
            whole: "name: x\nbase: {config: models/tiny, init: random}\ndata: data/a.jsonl\ntrain: {precision: bf16}",
            "conflict", 4, 20),
        Case(
            whole: "name: x\nbase: {config: models/tiny, init: random}\ndata: data/a.jsonl\nadapter: {method: lora}",
            "conflict", 4, 19),
        Case(whole: "- name: x", "wrong_type", 1, 1),
        Case(whole: "hello", "wrong_type", 1, 1),
    ]

    @Test(arguments: values) func refusesValues(_ test: Case) throws {
        let findings = try fixture.findings(test.text)
        #expect(findings.map(Place.init) == test.places, "\(findings)")
        if let hint = test.hint { #expect(findings.first?.hint == hint) }
    }

    @Test(arguments: [
        ("lora_r: 8", "adapter.rank"), ("r: 8", "adapter.rank"), ("lora_rank: 8", "adapter.rank"),
        ("rank: 8", "adapter.rank"),
        ("lora_alpha: 8", "adapter.alpha"), ("alpha: 8", "adapter.alpha"), ("scale: 8", "adapter.alpha"),
        ("lora_dropout: 0", "adapter.dropout"), ("dropout: 0", "adapter.dropout"),
        ("target_modules: [q]", "adapter.targets"), ("lora_target_modules: [q]", "adapter.targets"),
        ("lora_target: all", "adapter.targets"), ("keys: [q]", "adapter.targets"),
        ("lora_target_linear: true", "adapter.targets"), ("use_rslora: true", "adapter.rslora"),
        ("per_device_train_batch_size: 1", "train.batch_size"), ("micro_batch_size: 1", "train.micro_batch"),
        ("batch_size: 1", "train.batch_size"), ("gradient_accumulation_steps: 1", "train.batch_tokens"),
        ("grad_accumulation_steps: 1", "train.batch_tokens"), ("num_train_epochs: 1", "train.epochs"),
        ("num_epochs: 1", "train.epochs"), ("epochs: 1", "train.epochs"), ("iters: 1", "train.steps"),
        ("max_steps: 1", "train.steps"), ("learning_rate: 1", "train.learning_rate"), ("lr: 1", "train.learning_rate"),
        ("lr_scheduler_type: x", "train.lr_schedule"), ("lr_scheduler: x", "train.lr_schedule"),
        ("lr_schedule: x", "train.lr_schedule"), ("warmup_steps: 1", "train.warmup"),
        ("warmup_ratio: 1", "train.warmup"),
        ("max_seq_length: 1", "data.max_length"), ("sequence_len: 1", "data.max_length"),
        ("cutoff_len: 1", "data.max_length"), ("block_size: 1", "data.max_length"),
        ("val_set_size: 1", "data.validation"), ("val_size: 1", "data.validation"),
        ("early_stopping_patience: 3", "train.early_stopping"), ("mask_prompt: true", "data.train_on"),
        ("train_on_inputs: true", "data.train_on"), ("train_on_prompt: true", "data.train_on"),
        ("gradient_checkpointing: true", "train.gradient_checkpointing"),
        ("grad_checkpoint: true", "train.gradient_checkpointing"), ("resume_from_checkpoint: x", "train.init"),
        ("resume_adapter_file: x", "train.init"), ("seed: 1", "train.seed"), ("base_model: x", "base"),
        ("model_name_or_path: x", "base"), ("threads: 1", "run.threads"), ("timeout: 1h", "run.timeout"),
        ("train:\n  lora_r: 8", "adapter.rank"), ("adapter:\n  r: 8", "adapter.rank"),
        ("adapter:\n  lora_alpha: 8", "adapter.alpha"), ("train:\n  num_epochs: 8", "train.epochs"),
        ("train:\n  lr: 8", "train.learning_rate"),
        ("train:\n  learning_rte: 8", "learning_rate"), ("adaptor: {}", "adapter"), ("adapter:\n  rnak: 8", "rank"),
        ("piplein: x", "pipeline"), ("run:\n  concurency: {}", "concurrency"),
        ("learning_raet: 1", "train.learning_rate"),
    ])
    func suggestsOurNames(_ written: String, _ ours: String) throws {
        let findings = try fixture.findings(WorkspaceFixture.manifest(written))
        let isNested = written.contains("\n")
        #expect(findings.map(Place.init) == [Place("unknown_key", isNested ? 5 : 4, isNested ? 3 : 1)], "\(findings)")
        let hint = findings.first?.hint ?? ""
        #expect(hint == "did you mean \(ours)?" || hint.hasPrefix("did you mean \(ours)? ("), "\(hint)")
    }

    @Test func aKeyNearNothingHasNoSuggestion() throws {
        let findings = try fixture.findings(WorkspaceFixture.manifest("zzzzzzzz: 1"))
        #expect(findings.map(Place.init) == [Place("unknown_key", 4, 1)])
        #expect(findings.first?.hint == nil)
        let dotted = try fixture.findings(WorkspaceFixture.manifest("adapter.rank: 8"))
        #expect(dotted.map(Place.init) == [Place("unknown_key", 4, 1)])
        let schedule = try fixture.findings(WorkspaceFixture.manifest("schedule: daily"))
        #expect(schedule.first?.hint == "a file with a schedule belongs in Jobs/schedules")
    }

    @Test func allFindingsComeInOnePassInLineOrder() throws {
        let findings = try fixture.findings(
            """
            base: models/nowhere
            adapter: {rank: 0}
            name: bad name
            lora_r: 8
            train: {learning_rate: x, steps: 1, epochs: 2}
            data: data/*.txt
            pipeline: nightly
            """)
        #expect(
            findings.map(Place.init) == [
                Place("path_not_found", 1, 7), Place("out_of_range", 2, 17), Place("invalid_value", 3, 7),
                Place("unknown_key", 4, 1), Place("wrong_type", 5, 24), Place("conflict", 5, 45),
                Place("path_not_found", 6, 7), Place("pipeline_not_found", 7, 11),
            ])
        #expect(
            findings.map(\.pointer) == [
                "/base", "/adapter/rank", "/name", "/lora_r", "/train/learning_rate", "/train/epochs", "/data",
                "/pipeline",
            ])
    }

    @Test func hostileValuesDoNotReachTheMessages() throws {
        let long = String(repeating: "x", count: 5000)
        for finding in try fixture.findings(
            WorkspaceFixture.manifest("adapter: {rank: \"\(long)\\n\\t\"}\n\"k\\ty\": 1\n\(long.prefix(500)): 1\n"))
        {
            #expect(finding.message.count <= 200)
            #expect(finding.pointer.count <= 200)
            #expect(!finding.message.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
        }
    }

    @Test func mutuallyExclusiveLayersFollowTheManifest() throws {
        let settings = "defaults: {train: {steps: 100, batch_size: 4}, run: {retries: 5}, adapter: {rank: 32}}\n"
        let inherited = try fixture.resolve(WorkspaceFixture.manifest(), settings: settings)
        #expect(inherited.manifest.train.duration == .steps(100))
        #expect(inherited.manifest.train.batchSize == 4)
        #expect(inherited.manifest.adapter.rank == 32)
        #expect(inherited.origins["train.steps"] == .workspace)
        #expect(inherited.origins["train.epochs"] == nil)
        #expect(inherited.origins["adapter.rank"] == .workspace)
        let own = try fixture.resolve(
            WorkspaceFixture.manifest("train: {epochs: 0.5, batch_tokens: 64}\n"), settings: settings)
        #expect(own.manifest.train.duration == .epochs(0.5))
        #expect(own.manifest.train.batchSize == nil)
        #expect(own.manifest.train.batchTokens == 64)
        #expect(own.origins["train.steps"] == nil)
        #expect(own.origins["train.epochs"] == .manifest)
    }

    @Test func retriesAndTimeoutsWinWhenWritten() throws {
        let fixture = try WorkspaceFixture()
        try fixture.write(
            "ws/Pipelines/own.yaml",
            """
            version: 1
            name: own
            stages:
              tokenize: {uses: tokenize}
              train: {uses: train, needs: tokenize, retries: 4, timeout: 6h}
            """)
        let silent = try fixture.resolve(WorkspaceFixture.manifest("pipeline: own\n"))
        let train = try #require(silent.pipeline.stage("train"))
        let tokenize = try #require(silent.pipeline.stage("tokenize"))
        #expect(silent.retries(of: train) == 4)
        #expect(silent.timeoutSeconds(of: train) == 21_600)
        #expect(silent.retries(of: tokenize) == 2)
        #expect(silent.origins["stages.train.retries"] == .pipeline)
        #expect(silent.origins["stages.tokenize.retries"] == .default)
        let workspace = try fixture.resolve(
            WorkspaceFixture.manifest("pipeline: own\n"), settings: "defaults: {run: {retries: 9}}\n")
        #expect(workspace.retries(of: train) == 4)
        #expect(workspace.retries(of: tokenize) == 9)
        let written = try fixture.resolve(WorkspaceFixture.manifest("pipeline: own\nrun: {retries: 0, timeout: 1m}\n"))
        #expect(written.retries(of: train) == 0)
        #expect(written.timeoutSeconds(of: train) == 60)
        #expect(written.origins["stages.train.timeout"] == .manifest)
    }

    @Test func foreignKeysAreLeftAlone() throws {
        var resolver = try fixture.resolver()
        resolver.foreignKeys = ["schedule"]
        let text = WorkspaceFixture.manifest("schedule: {cron: \"0 2 * * *\"}\n")
        #expect(try resolver.resolve(Data(text.utf8)).manifest.name == "support-tone")
    }

    @Test func aBrokenPipelineIsReportedAtItsKey() throws {
        let fixture = try WorkspaceFixture()
        try fixture.write("ws/Pipelines/own.yaml", "name: own\nstages:\n  a: {uses: nothing}\n")
        let findings = try fixture.findings(WorkspaceFixture.manifest("pipeline: own\n"))
        #expect(findings.map(Place.init) == [Place("pipeline_invalid", 4, 11)])
        #expect(
            findings[0].message.hasPrefix(
                "Pipelines/own.yaml, line 3, col 13: stages.a.uses: there is no kind of stage"))
    }

    @Test func canonicalBytesAreStable() throws {
        let a = try fixture.resolve(WorkspaceFixture.manifest("train: {learning_rate: 2e-4}\nadapter: {rank: 8}\n"))
        let b = try fixture.resolve(
            "adapter: {rank: 8.0}\ndata: [data/*.jsonl]\ntrain: {learning_rate: 0.0002}\n"
                + "base: ./models/../models/tiny\nname: support-tone\n"
        )
        #expect(ManifestSchema.canonicalJSON(of: a.manifest) == ManifestSchema.canonicalJSON(of: b.manifest))
        let part = ManifestSchema.canonicalJSON(of: a.manifest, keys: ["adapter", "train.seed", "merge"])
        #expect(
            String(decoding: part, as: UTF8.self) == """
                {"adapter":{"alpha":16,"alpha_pattern":{},"dropout":0,"method":"lora","modules_to_save":[],"names":"transformers5",\
                "rank":8,"rank_pattern":{},"rslora":false,"targets":"all-linear"},\
                "merge":false,"train":{"seed":42}}
                """)
    }

    @Test func manifestsOfOtherVersionsAreRead() throws {
        let text = #"{"name":"x","base":"/b","data":{"train":["/d"]},"train":{"steps":5},"future":{"key":1}}"#
        let manifest = try JSONDecoder().decode(JobManifest.self, from: Data(text.utf8))
        #expect(manifest.train.duration == .steps(5))
        #expect(manifest.adapter.rank == 8)
        #expect(throws: SpecError.self) {
            try JSONDecoder().decode(JobManifest.self, from: Data(#"{"name":"x","base":"/b"}"#.utf8))
        }
        #expect(throws: SpecError.self) {
            try JSONDecoder().decode(
                JobManifest.self,
                from: Data(#"{"name":"x","base":"/b","data":{"train":["/d"]},"merge":{"dtype":3}}"#.utf8))
        }
    }
}

extension JobManifest.Merge {
    fileprivate init(dtype: JobManifest.MergeDType) {
        self.init()
        self.dtype = dtype
    }
}
