/// A job, with every value resolved: what was written, completed by pipeline, workspace and defaults.
///
/// The keys are those of the manifest file in snake case; `ManifestSchema` says for each what it means and what
/// is accepted. Paths are absolute. Stages read this type and nothing of the file.
///
/// The stored properties' initial values are the documented defaults: nothing else declares them.
package struct JobManifest: Codable, Sendable, Equatable {
    /// The base a job starts from.
    package enum Base: Codable, Sendable, Equatable {
        /// A Hugging Face checkpoint folder, as an absolute path.
        case folder(String)
        /// A folder with `config.json` and a tokenizer, whose weights are drawn at random: pretraining.
        case random(config: String)

        /// The folder with `config.json`.
        package var path: String {
            switch self {
            case .folder(let path), .random(let path): path
            }
        }
    }

    /// How much of the data becomes the validation or test split.
    package enum Split: Codable, Sendable, Equatable {
        /// A share of the training files' records, 0…1, chosen by content hash.
        case fraction(Double)
        /// Files of its own, absolute paths.
        case files([String])
    }

    package enum DataFormat: String, Codable, Sendable, CaseIterable {
        case auto, text, completion, chat, alpaca, classification, tagged, pairs, preference, images
    }

    /// What a job's model learns to do. `auto` goes by the base and, where that may learn several things, by the data.
    package enum Task: String, Codable, Sendable, CaseIterable {
        case auto
        case causalLM = "causal-lm"
        case sequenceClassification = "sequence-classification"
        case sequenceRegression = "sequence-regression"
        case tokenClassification = "token-classification"
        case maskedLM = "masked-lm"
        case embedding
        case imageClassification = "image-classification"

        /// The formats that it can be learned from.
        package var formats: [DataFormat] {
            switch self {
            case .auto: DataFormat.allCases
            case .causalLM: [.text, .completion, .chat, .alpaca, .classification, .preference]
            case .sequenceClassification, .sequenceRegression: [.classification]
            case .tokenClassification: [.tagged]
            case .maskedLM: [.text]
            case .embedding: [.pairs]
            case .imageClassification: [.images]
            }
        }
    }

    /// Where a conversation's text comes from: the base's own chat template, or ChatML.
    package enum ChatTemplateSource: String, Codable, Sendable, CaseIterable { case model, chatml }

    package enum Overlength: String, Codable, Sendable, CaseIterable { case drop, truncate, error }

    package struct Data: Codable, Sendable, Equatable {
        /// Absolute paths or glob patterns.
        package var train: [String] = []
        /// What the patterns of `train` match and is not read, as absolute paths or patterns.
        package var exclude: [String] = []
        /// Seconds: files of `train` whose names bear an earlier date are not read. `nil` reads all.
        package var windowSeconds: Double?
        /// The share of the training records that is trained on, for trials; `nil` trains on all.
        package var sample: Double?
        package var validation: Split = .fraction(0.05)
        package var test: Split = .fraction(0.05)
        package var format: DataFormat = .auto
        /// Canonical field to the record's own name, such as `prompt: question`.
        package var columns: [String: String] = [:]
        /// Roles of a chat whose messages are trained.
        package var trainOn = ["assistant"]
        package var chatTemplate: ChatTemplateSource = .model
        /// Names of the classes in their order; none are gathered from the data.
        package var labels: [String] = []
        /// Most tokens of one example; the model's context caps it. `nil` is the model's context.
        package var maxLength: Int? = 1024
        package var overlength: Overlength = .drop
        package var packing = true
        package var maxBadRecords = 0
        package var health = Health()
        package init() {}
    }

    /// What data may be like at most; `nil` allows everything. Shares are 0…1.
    package struct Health: Codable, Sendable, Equatable {
        package var maxDuplicates: Double?
        package var maxNearDuplicates: Double?
        package var maxOverlap: Double?
        package var maxLengthDrift: Double?
        package var maxLabelDrift: Double?
        /// Mail addresses, phone numbers and card numbers in all.
        package var maxPersonal: Int?
        package init() {}
    }

    package enum AdapterMethod: String, Codable, Sendable, CaseIterable { case lora, full }

    /// Which projections an adapter attaches to, by PEFT's rules.
    package enum Targets: Codable, Sendable, Equatable {
        case allLinear
        case architectureDefault
        case suffixes([String])
        case regex(String)
    }

    /// The release of transformers whose names of modules an adapter has, where releases differ.
    package enum ModuleNames: String, Codable, Sendable, CaseIterable { case transformers5, transformers4 }

    package struct Adapter: Codable, Sendable, Equatable {
        package var method: AdapterMethod = .lora
        package var rank = 8
        package var alpha = 16.0
        package var dropout = 0.0
        package var rslora = false
        package var targets: Targets = .allLinear
        package var names: ModuleNames = .transformers5
        /// Ranks and alphas of single modules, by name endings or patterns.
        package var rankPattern: [String: Int] = [:]
        package var alphaPattern: [String: Double] = [:]
        /// Modules that are trained whole beside the adapter.
        package var modulesToSave: [String] = []
        package init() {}

        /// The keys of a pattern map in the order in which they are asked: the longest first, since PEFT takes the first that
        /// fits and a mapping has no order of its own.
        package static func ordered<Value>(_ patterns: [String: Value]) -> [(pattern: String, value: Value)] {
            patterns.map { (pattern: $0.key, value: $0.value) }.sorted {
                ($1.pattern.count, $0.pattern) < ($0.pattern.count, $1.pattern)
            }
        }
    }

    /// How long to train.
    package enum Duration: Codable, Sendable, Equatable {
        case epochs(Double)
        case steps(Int)
    }

    /// A number of optimizer steps, or a share of all of them.
    package enum Warmup: Codable, Sendable, Equatable {
        case steps(Int)
        case fraction(Double)
    }

    package enum LearningRateSchedule: String, Codable, Sendable, CaseIterable { case constant, linear, cosine, wsd }
    package enum Precision: String, Codable, Sendable, CaseIterable { case auto, fp32, bf16 }

    package struct EarlyStopping: Codable, Sendable, Equatable {
        package var metric = "loss"
        package var patience = 3
        package init() {}
    }

    /// What training starts from.
    package enum Start: Codable, Sendable, Equatable {
        /// A new adapter.
        case base
        /// What is in production when the job starts; a new adapter as long as nothing is.
        case production
        /// A version, as `name:3` or `name@alias`.
        case version(String)
    }

    package struct Train: Codable, Sendable, Equatable {
        package var start: Start = .base
        /// The share of older examples among those that are trained on, where training goes on from a version and the data
        /// have only grown since. `nil` trains on all.
        package var replay: Double?
        package var duration: Duration = .epochs(3)
        /// Tokens per optimizer step; packed sequences are added until it is reached.
        package var batchTokens = 4096
        /// Examples (or blocks) per optimizer step; takes the place of `batchTokens` when set.
        package var batchSize: Int?
        /// Sequences per forward pass; `nil` is chosen from the memory budget.
        package var microBatch: Int?
        package var learningRate = 2e-4
        package var lrSchedule: LearningRateSchedule = .cosine
        package var warmup: Warmup = .fraction(0.03)
        package var weightDecay = 0.0
        package var clipNorm = 1.0
        package var precision: Precision = .auto
        /// Whether the backward pass computes layers again instead of keeping their values.
        package var gradientCheckpointing: GradientCheckpointing = .auto
        package var seed: UInt64 = 42
        /// `nil` trains to the end.
        package var earlyStopping: EarlyStopping? = EarlyStopping()
        package init() {}
    }

    /// `auto` is `on` where memory would not do otherwise.
    package enum GradientCheckpointing: String, Codable, Sendable { case auto, on, off }

    package enum MergeDType: String, Codable, Sendable, CaseIterable { case fp32, bf16, fp16 }

    /// Whether, and in which dtype, the merged checkpoint is published too. `nil` is no merge.
    package struct Merge: Codable, Sendable, Equatable {
        package var dtype: MergeDType = .fp32
        package init() {}
    }

    package enum OnConflict: String, Codable, Sendable, CaseIterable { case coalesce, queue, replace, reject }

    package struct Run: Codable, Sendable, Equatable {
        package var queue = "default"
        /// -100…100; higher first.
        package var priority = 0
        package var retries = 2
        package var timeoutSeconds = 8.0 * 3600
        /// `nil` trains for as long as it takes.
        package var budget: Budget?
        package var threads = 2
        /// Bytes the job is counted with; `nil` is the estimate.
        package var memoryBytes: Int?
        /// `nil` is the tenant and the job's name.
        package var concurrencyKey: String?
        package var onConflict: OnConflict = .coalesce
        package var idempotencyKey: String?
        package var hold = false
        /// Not before this moment, seconds since 1970.
        package var notBefore: Double?
        /// Job ids this one waits for, each with `:ok`, `:any` or `:notok`.
        package var after: [String] = []
        package init() {}
    }

    package var version = 1
    package var name: String
    package var pipeline = "finetune"
    package var base: Base
    package var task: Task = .auto
    package var data = Data()
    package var adapter = Adapter()
    package var train = Train()
    package var evaluate = Evaluate()
    package var merge: Merge?
    /// `nil` moves no alias.
    package var gate: Gate?
    /// `nil` tells nobody but whom the workspace's settings name.
    package var notify: Notify?
    package var run = Run()

    package init(name: String, base: Base) {
        self.name = name
        self.base = base
    }
}

extension JobManifest {
    /// Reads what ``encode(to:)`` wrote, in this version or another.
    package init(from decoder: any Decoder) throws {
        self = try ManifestSchema.manifest(from: try JSONValue(from: decoder))
    }

    /// Writes the canonical form: the manifest file's own keys, every value in force.
    package func encode(to encoder: any Encoder) throws {
        try ManifestSchema.canonical(self).encode(to: encoder)
    }
}
