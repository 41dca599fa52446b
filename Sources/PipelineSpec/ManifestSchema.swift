import Foundation

/// Every key a manifest may hold, declared once. See ``ManifestField`` for what reads it.
package enum ManifestSchema {
    /// The fields in the order a full manifest writes them.
    package static let fields: [ManifestField] =
        jobFields + [taskField] + dataFields + healthFields + adapterFields + trainFields + resultFields + runFields

    /// What a manifest has where nothing is written. Its name and base mean nothing.
    static let defaults = JobManifest(name: "", base: .folder(""))

    /// The field of a dotted path.
    package static func field(_ path: String) -> ManifestField? { byPath[path] }

    /// Whether `path` is a mapping of fields, such as `train` or `run.concurrency`.
    package static func isSection(_ path: String) -> Bool { sections.contains(path) }

    /// Whether a field or section has the path.
    package static func isKnown(_ path: String) -> Bool { byPath[path] != nil || sections.contains(path) }

    private static let byPath = Dictionary(uniqueKeysWithValues: fields.map { ($0.path, $0) })

    private static let sections: Set<String> = Set(
        fields.flatMap { field in
            let words = field.path.split(separator: ".")
            return (1..<max(words.count, 1)).map { words.prefix($0).joined(separator: ".") }
        })

    private static let jobFields: [ManifestField] = [
        ManifestField(
            "version", .integer(1...1), "Version of the manifest format.",
            get: { .integer($0.version) }, set: { $0.version = try $1.int() }),
        ManifestField(
            "name", .name, "Name of the adapter in the store.", required: true,
            get: { .string($0.name) }, set: { $0.name = try $1.string() }),
        ManifestField(
            "pipeline", .name, "The pipeline to run: `Pipelines/<pipeline>.yaml`.",
            get: { .string($0.pipeline) }, set: { $0.pipeline = try $1.string() }),
        ManifestField(
            "base", .base,
            """
            Where training starts: a Hugging Face folder, a model id in the local Hugging Face cache, \
            `store:NAME[:VERSION|@ALIAS]`, or `{config: DIR, init: random}` to pretrain.
            """,
            required: true,
            get: { manifest in
                switch manifest.base {
                case .folder(let path): .string(path)
                case .random(let config): .object(["config": .string(config), "init": .string("random")])
                }
            },
            set: { manifest, value in
                if let config = value["config"] {
                    manifest.base = .random(config: try config.string())
                } else {
                    manifest.base = .folder(try value.string())
                }
            }),
    ]

    private static let taskField = ManifestField(
        "task", .choice(JobManifest.Task.allCases.map(\.rawValue)),
        "What the model learns to do; `auto` goes by the base, and with an encoder of text by the data.",
        get: { .string($0.task.rawValue) }, set: { $0.task = try $1.choice(JobManifest.Task.self) })

    private static let dataFields: [ManifestField] = [
        ManifestField(
            "data.train", .paths,
            "Files or patterns (`*`, `?`, `[a-z]`, `**`) to train on; `data: FILES` is short for it.",
            required: true,
            get: { .array($0.data.train.map { .string($0) }) }, set: { $0.data.train = try $1.strings() }),
        ManifestField(
            "data.exclude", .patterns, "Files or patterns that are not trained on, whatever `data.train` matches.",
            get: { .array($0.data.exclude.map { .string($0) }) }, set: { $0.data.exclude = try $1.strings() }),
        ManifestField(
            "data.window", .orNull(.duration(86_400...3_153_600_000)),
            "How far back training reads, by the dates in the names of its files, such as `90d`.",
            get: { $0.data.windowSeconds.map { .string(Quantity.duration($0)) } ?? .null },
            set: { $0.data.windowSeconds = $1 == .null ? nil : try $1.seconds() }),
        ManifestField(
            "data.sample", .orNull(.share),
            "Share of the training records that is trained on, chosen by content, for trials; `null` trains on all.",
            get: { $0.data.sample.map { .string(Quantity.percent($0)) } ?? .null },
            set: { $0.data.sample = $1 == .null ? nil : try $1.share() }),
        ManifestField(
            "data.validation", .split,
            "Share of the records, or files, that early stopping and the best checkpoint look at.",
            get: { json($0.data.validation) }, set: { $0.data.validation = try split($1) }),
        ManifestField(
            "data.test", .split, "Share of the records, or files, that only evaluation and the gate look at.",
            get: { json($0.data.test) }, set: { $0.data.test = try split($1) }),
        ManifestField(
            "data.format",
            .choice(
                [
                    "auto", "text", "completion", "chat", "alpaca", "classification", "tagged", "pairs", "preference",
                    "images",
                ]),
            "What a record is; `auto` goes by the fields of each file's first record. `preference` is tokenized, not "
                + "trained on yet.",
            get: { .string($0.data.format.rawValue) },
            set: { $0.data.format = try $1.choice(JobManifest.DataFormat.self) }),
        ManifestField(
            "data.columns", .columns, "Which of the record's own fields holds each part, such as `{prompt: question}`.",
            get: { .object($0.data.columns.mapValues { .string($0) }) }, set: { $0.data.columns = try $1.stringMap() }),
        ManifestField(
            "data.train_on", .list(of: ["assistant", "user", "system", "tool"]),
            "Roles of a chat whose messages are trained, each with what ends its turn.",
            get: { .array($0.data.trainOn.map { .string($0) }) }, set: { $0.data.trainOn = try $1.strings() }),
        ManifestField(
            "data.chat_template", .choice(JobManifest.ChatTemplateSource.allCases.map(\.rawValue)),
            "What writes a chat as text: the base's own template, or ChatML, for a base that has none.",
            get: { .string($0.data.chatTemplate.rawValue) },
            set: { $0.data.chatTemplate = try $1.choice(JobManifest.ChatTemplateSource.self) }),
        ManifestField(
            "data.labels", .names,
            "Names of the classes in their order, for records whose label is an index; none are gathered from the data.",
            get: { .array($0.data.labels.map { .string($0) }) }, set: { $0.data.labels = try $1.strings() }),
        ManifestField(
            "data.max_length", .orWord("auto", .integer(2...1_048_576)),
            "Most tokens of one example, at most the model's context, which `auto` takes.",
            get: { $0.data.maxLength.map { .integer($0) } ?? .string("auto") },
            set: { $0.data.maxLength = try number($1) }),
        ManifestField(
            "data.overlength", .choice(JobManifest.Overlength.allCases.map(\.rawValue)),
            "What happens to an example that is longer; running text is cut into blocks.",
            get: { .string($0.data.overlength.rawValue) },
            set: { $0.data.overlength = try $1.choice(JobManifest.Overlength.self) }),
        ManifestField(
            "data.packing", .boolean,
            "Whether examples are laid together by best fit, so that micro-batches are nearly full. There is no padding "
                + "either way, and no example sees another.",
            get: { .bool($0.data.packing) }, set: { $0.data.packing = try $1.bool() }),
        ManifestField(
            "data.max_bad_records", .integer(0...1_000_000_000), "How many unreadable records are passed over.",
            get: { .integer($0.data.maxBadRecords) }, set: { $0.data.maxBadRecords = try $1.int() }),
    ]

    private static let adapterFields: [ManifestField] = [
        ManifestField(
            "adapter.method",
            .choice(
                JobManifest.AdapterMethod.allCases.map(\.rawValue),
                planned: ["dora", "qlora", "adalora", "ia3", "vera", "loha", "lokr", "oft", "prefix", "prompt"]),
            "How weights are adapted; `full` trains all of them, as a base with random weights does by default.",
            get: { .string($0.adapter.method.rawValue) },
            set: { $0.adapter.method = try $1.choice(JobManifest.AdapterMethod.self) }),
        ManifestField(
            "adapter.rank", .integer(1...1024), "Rank of the update (PEFT's `r`).",
            get: { .integer($0.adapter.rank) }, set: { $0.adapter.rank = try $1.int() }),
        ManifestField(
            "adapter.alpha", .number(0...65536, above: true), "Numerator of the update's scale, alpha / rank.",
            get: { .number($0.adapter.alpha) }, set: { $0.adapter.alpha = try $1.double() }),
        ManifestField(
            "adapter.dropout", .number(0...0.99), "Share of the adapter's inputs set to zero while training.",
            get: { .number($0.adapter.dropout) }, set: { $0.adapter.dropout = try $1.double() }),
        ManifestField(
            "adapter.rslora", .boolean, "Whether the scale is alpha / sqrt(rank) (PEFT's `use_rslora`).",
            get: { .bool($0.adapter.rslora) }, set: { $0.adapter.rslora = try $1.bool() }),
        ManifestField(
            "adapter.targets", .targets,
            "Which projections are adapted: a list of name endings, a regular expression, `all-linear`, or `default`.",
            get: { manifest in
                switch manifest.adapter.targets {
                case .allLinear: .string("all-linear")
                case .architectureDefault: .string("default")
                case .suffixes(let names): .array(names.map { .string($0) })
                case .regex(let pattern): .string(pattern)
                }
            },
            set: { manifest, value in
                switch value {
                case .string("all-linear"): manifest.adapter.targets = .allLinear
                case .string("default"): manifest.adapter.targets = .architectureDefault
                case .string(let pattern): manifest.adapter.targets = .regex(pattern)
                default: manifest.adapter.targets = .suffixes(try value.strings())
                }
            }),
        ManifestField(
            "adapter.names", .choice(JobManifest.ModuleNames.allCases.map(\.rawValue)),
            "Whose names of modules targets and the written adapter have, where releases differ (ViT, experts).",
            get: { .string($0.adapter.names.rawValue) },
            set: { $0.adapter.names = try $1.choice(JobManifest.ModuleNames.self) }),
        ManifestField(
            "adapter.rank_pattern", .modules(.integer(1...1024)),
            "Ranks of single modules, by the end of a name or a regular expression for it, such as `{down_proj: 16}`; of "
                + "several that fit, the longest counts.",
            get: { .object($0.adapter.rankPattern.mapValues { .integer($0) }) },
            set: { $0.adapter.rankPattern = try $1.members().mapValues { try $0.int() } }),
        ManifestField(
            "adapter.alpha_pattern", .modules(.number(0...65536, above: true)), "Alphas of single modules, likewise.",
            get: { .object($0.adapter.alphaPattern.mapValues { .number($0) }) },
            set: { $0.adapter.alphaPattern = try $1.members().mapValues { try $0.double() } }),
        ManifestField(
            "adapter.modules_to_save", .names,
            "Modules that are trained whole and kept beside the adapter, by the ends of their names, such as `[lm_head]`; the "
                + "new head of a task needs none.",
            get: { .array($0.adapter.modulesToSave.map { .string($0) }) },
            set: { $0.adapter.modulesToSave = try $1.strings() }),
    ]

    private static let trainFields: [ManifestField] = [
        ManifestField(
            "train.epochs", .number(0...100_000, above: true), "Passes over the training data; may be a fraction.",
            excludes: "train.steps",
            get: { if case .epochs(let value) = $0.train.duration { .number(value) } else { .null } },
            set: { $0.train.duration = .epochs(try $1.double()) }),
        ManifestField(
            "train.steps", .integer(1...1_000_000_000), "Optimizer steps, instead of epochs.", excludes: "train.epochs",
            get: { if case .steps(let value) = $0.train.duration { .integer(value) } else { .null } },
            set: { $0.train.duration = .steps(try $1.int()) }),
        ManifestField(
            "train.batch_tokens", .integer(1...1_000_000_000), "Tokens of one optimizer step.",
            excludes: "train.batch_size",
            get: { $0.train.batchSize == nil ? .integer($0.train.batchTokens) : .null },
            set: { manifest, value in
                manifest.train.batchTokens = try value.int()
                manifest.train.batchSize = nil
            }),
        ManifestField(
            "train.batch_size", .integer(1...1_000_000), "Examples of one optimizer step, instead of tokens.",
            excludes: "train.batch_tokens",
            get: { $0.train.batchSize.map { .integer($0) } ?? .null }, set: { $0.train.batchSize = try $1.int() }),
        ManifestField(
            "train.micro_batch", .orWord("auto", .integer(1...65536)),
            "Sequences of one forward pass; `auto` takes up to 2048 tokens, on every machine alike.",
            get: { $0.train.microBatch.map { .integer($0) } ?? .string("auto") },
            set: { $0.train.microBatch = try number($1) }),
        ManifestField(
            "train.learning_rate", .number(0...10, above: true), "Peak learning rate of AdamW.",
            get: { .number($0.train.learningRate) }, set: { $0.train.learningRate = try $1.double() }),
        ManifestField(
            "train.lr_schedule", .choice(JobManifest.LearningRateSchedule.allCases.map(\.rawValue)),
            "How the learning rate falls after the warm-up.",
            get: { .string($0.train.lrSchedule.rawValue) },
            set: { $0.train.lrSchedule = try $1.choice(JobManifest.LearningRateSchedule.self) }),
        ManifestField(
            "train.warmup", .shareOrCount, "Steps, or share of all steps, over which the learning rate rises.",
            get: { manifest in
                switch manifest.train.warmup {
                case .steps(let count): .integer(count)
                case .fraction(let share): .string(Quantity.percent(share))
                }
            },
            set: { manifest, value in
                if case .string = value {
                    manifest.train.warmup = .fraction(try value.share())
                } else {
                    manifest.train.warmup = .steps(try value.int())
                }
            }),
        ManifestField(
            "train.weight_decay", .number(0...1), "Decoupled weight decay of AdamW.",
            get: { .number($0.train.weightDecay) }, set: { $0.train.weightDecay = try $1.double() }),
        ManifestField(
            "train.clip_norm", .number(0...1e9, above: true),
            "Largest norm of the gradient; what is longer is scaled down.",
            get: { .number($0.train.clipNorm) }, set: { $0.train.clipNorm = try $1.double() }),
        ManifestField(
            "train.precision", .choice(["auto", "fp32", "bf16"]),
            "Number format of the frozen matrices and their products: `auto` is bf16 where the processor multiplies it. "
                + "What is trained is fp32, and so is all of `method: full`. Recorded in the lineage.",
            get: { .string($0.train.precision.rawValue) },
            set: { $0.train.precision = try $1.choice(JobManifest.Precision.self) }),
        ManifestField(
            "train.gradient_checkpointing", .orWord("auto", .boolean),
            "Whether the backward pass computes each layer again instead of keeping its values: less memory for about a "
                + "third more time, and the same numbers. `auto` does where `run.memory`, or the machine's, would not do.",
            get: { manifest in
                switch manifest.train.gradientCheckpointing {
                case .auto: "auto"
                case .on: .bool(true)
                case .off: .bool(false)
                }
            },
            set: { manifest, value in
                guard case .bool(let isOn) = value else { return manifest.train.gradientCheckpointing = .auto }
                manifest.train.gradientCheckpointing = isOn ? .on : .off
            }),
        ManifestField(
            "train.init", .string(maximum: 256),
            "What the adapter starts from: `base`, `production`, or a version such as `notes:3`.",
            get: { manifest in
                switch manifest.train.start {
                case .base: "base"
                case .production: "production"
                case .version(let reference): .string(reference)
                }
            },
            set: { manifest, value in
                switch try value.string() {
                case "base": manifest.train.start = .base
                case "production": manifest.train.start = .production
                case let reference: manifest.train.start = .version(reference)
                }
            }),
        ManifestField(
            "train.replay", .orNull(.share),
            "Share of older examples, where training goes on from a version and the data have only grown since; `null` "
                + "trains on all.",
            get: { $0.train.replay.map { .string(Quantity.percent($0)) } ?? .null },
            set: { $0.train.replay = $1 == .null ? nil : try $1.share() }),
        ManifestField(
            "train.seed", .integer(0...Int.max), "Seed of every random choice.",
            get: { .integer(Int(clamping: $0.train.seed)) },
            set: { manifest, value in
                guard let seed = UInt64(exactly: try value.int()) else {
                    throw SpecError(.key, "train.seed must not be negative")
                }
                manifest.train.seed = seed
            }),
        ManifestField(
            "train.early_stopping",
            .switchable(
                off: .null,
                members: [
                    .init(
                        "metric", .choice(["loss"], planned: ["accuracy", "perplexity"]), .string("loss"),
                        "The number that must improve on the validation split."),
                    .init(
                        "patience", .integer(1...10_000), .integer(JobManifest.EarlyStopping().patience),
                        "How many evaluations without an improvement end the training."),
                ]),
            "When training ends before its time; `null` never does.",
            get: { manifest in
                guard let stopping = manifest.train.earlyStopping else { return .null }
                return .object(["metric": .string(stopping.metric), "patience": .integer(stopping.patience)])
            },
            set: { manifest, value in
                guard case .object(let members) = value else { return manifest.train.earlyStopping = nil }
                var stopping = JobManifest.EarlyStopping()
                if let metric = members["metric"] { stopping.metric = try metric.string() }
                if let patience = members["patience"] { stopping.patience = try patience.int() }
                manifest.train.earlyStopping = stopping
            }),
    ]

    private static let runFields: [ManifestField] = [
        ManifestField(
            "run.queue", .name, "The queue the job waits in.",
            get: { .string($0.run.queue) }, set: { $0.run.queue = try $1.string() }),
        ManifestField(
            "run.priority", .integer(-100...100), "Higher goes first.",
            get: { .integer($0.run.priority) }, set: { $0.run.priority = try $1.int() }),
        ManifestField(
            "run.retries", .integer(0...100),
            "How often a failed stage is tried again; wins over the pipeline's when written.",
            get: { .integer($0.run.retries) }, set: { $0.run.retries = try $1.int() }),
        ManifestField(
            "run.timeout", .duration(1...31_536_000),
            "Longest time of one try at a stage; wins over the pipeline's when written.",
            get: { .string(Quantity.duration($0.run.timeoutSeconds)) },
            set: { $0.run.timeoutSeconds = try $1.seconds() }),
        ManifestField(
            "run.budget", .record(shorthand: "wall", members: budgetMembers),
            "How long the job may take: training then ends with the best it has, in time for the stages after it.",
            get: { $0.run.budget.map(json) ?? .null },
            set: { $0.run.budget = $1 == .null ? nil : try budget($1) }),
        ManifestField(
            "run.threads", .integer(1...1024), "Threads a stage keeps busy.",
            get: { .integer($0.run.threads) }, set: { $0.run.threads = try $1.int() }),
        ManifestField(
            "run.memory", .orWord("auto", .size),
            "Memory that must be free before the job starts; `auto` is what equal jobs used before, else the estimate.",
            get: { .string($0.run.memoryBytes.map(Quantity.size) ?? "auto") },
            set: { manifest, value in
                let text = try value.string()
                guard text != "auto" else { return manifest.run.memoryBytes = nil }
                guard let bytes = Quantity.bytes(text), bytes > 0 else {
                    throw SpecError(.key, "run.memory must be more than nothing")
                }
                manifest.run.memoryBytes = bytes
            }),
        ManifestField(
            "run.concurrency.key", .string(maximum: 200),
            "Jobs of one key run one after the other; `tenant/name` is their own.",
            get: { .string($0.run.concurrencyKey ?? "tenant/name") },
            set: { manifest, value in
                let key = try value.string()
                manifest.run.concurrencyKey = key == "tenant/name" ? nil : key
            }),
        ManifestField(
            "run.concurrency.on_conflict", .choice(JobManifest.OnConflict.allCases.map(\.rawValue)),
            "What happens while a job of the same key waits; `coalesce` merges equal manifests only.",
            get: { .string($0.run.onConflict.rawValue) },
            set: { $0.run.onConflict = try $1.choice(JobManifest.OnConflict.self) }),
        ManifestField(
            "run.idempotency_key", .orNull(.string(maximum: 200)), "A second job with the same key is not made.",
            get: { $0.run.idempotencyKey.map { .string($0) } ?? .null },
            set: { $0.run.idempotencyKey = $1 == .null ? nil : try $1.string() }),
        ManifestField(
            "run.hold", .boolean, "Whether the job waits for `release`.",
            get: { .bool($0.run.hold) }, set: { $0.run.hold = try $1.bool() }),
        ManifestField(
            "run.at", .orNull(.moment), "Not before this moment, such as `2027-01-31T02:30` (local time) or with `Z`.",
            get: { $0.run.notBefore.map { .string(Moment.text($0)) } ?? .null },
            set: { manifest, value in
                guard value != .null else { return manifest.run.notBefore = nil }
                guard let moment = Moment.parse(try value.string(), timeZone: .gmt) else {
                    throw SpecError(.key, "run.at is no moment")
                }
                manifest.run.notBefore = moment
            }),
        ManifestField(
            "run.after", .jobReferences, "Ids of jobs to wait for, each with `:ok`, `:any` or `:notok`.",
            get: { .array($0.run.after.map { .string($0) }) }, set: { $0.run.after = try $1.strings() }),
    ]

    private static let budgetMembers: [ValueConstraint.Member] = [
        .init("wall", .orNull(.duration(1...31_536_000)), .null, "How long its stages may work, all tries together."),
        .init("by", .orNull(.timeOfDay), .null, "The time of day at which it is to have ended."),
        .init(
            "time_zone", .timeZone, .string("local"), "Whose time of day: a name such as `Europe/Berlin`, or `local`."),
    ]

    private static func json(_ budget: JobManifest.Budget) -> JSONValue {
        .object([
            "wall": budget.wallSeconds.map { .string(Quantity.duration($0)) } ?? .null,
            "by": budget.endMinute.map { .string(TimeOfDay.text($0)) } ?? .null,
            "time_zone": .string(budget.timeZone),
        ])
    }

    private static func budget(_ value: JSONValue) throws -> JobManifest.Budget {
        var budget = JobManifest.Budget()
        if let wall = value["wall"], wall != .null { budget.wallSeconds = try wall.seconds() }
        if let by = value["by"], by != .null {
            guard let minute = TimeOfDay.minute(try by.string()) else {
                throw SpecError(.key, "run.budget.by is no time of day")
            }
            budget.endMinute = minute
        }
        if let zone = value["time_zone"] { budget.timeZone = try zone.string() }
        return budget
    }

    private static func json(_ split: JobManifest.Split) -> JSONValue {
        switch split {
        case .fraction(let share): .string(Quantity.percent(share))
        case .files(let paths): .array(paths.map { .string($0) })
        }
    }

    private static func split(_ value: JSONValue) throws -> JobManifest.Split {
        if case .array = value { return .files(try value.strings()) }
        return .fraction(try value.share())
    }

    /// A whole number, or `nil` for a word such as `auto`.
    private static func number(_ value: JSONValue) throws -> Int? {
        if case .string = value { nil } else { try value.int() }
    }
}
