/// What a job measures, and what must hold before its version becomes production.
extension JobManifest {
    /// The metrics there are, by the names of the compute half's registry.
    package enum Metric: String, Codable, Sendable, CaseIterable {
        case loss, perplexity
        case bytePerplexity = "byte_perplexity"
        case tokenAccuracy = "token_accuracy"
        case exactMatch = "exact_match"
        case accuracy
        case macroF1 = "macro_f1"
        case mcc, bleu, chrf, rouge1, rouge2, rougeL
        case acc
        case accNorm = "acc_norm"

        /// What every evaluation measures, asked or not.
        package static let always: [Metric] = [.loss, .perplexity]

        /// Whether more of it is better, as the registry says too.
        package var isHigherBetter: Bool { ![.loss, .perplexity, .bytePerplexity].contains(self) }

        /// Whether examples of a job's own data may have it; `false` only where they surely do not, whatever base and
        /// records are.
        package func isPossible(for task: Task, _ format: DataFormat) -> Bool {
            let tasks = task == .auto ? Task.allCases.filter { $0 != .auto } : [task]
            return tasks.contains {
                (format == .auto || $0.formats.contains(format)) && isMeasured(of: $0, format)
            }
        }

        private func isMeasured(of task: Task, _ format: DataFormat) -> Bool {
            // A model that writes is asked about classes where records name them.
            let writesClasses = task == .causalLM && [.auto, .classification].contains(format)
            return switch self {
            case .loss: true
            case .perplexity, .tokenAccuracy, .exactMatch: task != .sequenceRegression
            case .bytePerplexity, .bleu, .chrf, .rouge1, .rouge2, .rougeL: task == .causalLM
            case .accuracy: writesClasses || ![.causalLM, .sequenceRegression].contains(task)
            case .macroF1, .mcc: writesClasses || [.sequenceClassification, .imageClassification].contains(task)
            // Only suites have answers to choose between.
            case .acc, .accNorm: false
            }
        }
    }

    /// A set of examples of its own that every version is judged by.
    package struct Suite: Codable, Sendable, Equatable {
        /// Absolute paths or glob patterns.
        package var data: [String] = []
        package var format: SuiteFormat = .auto
        package var columns: [String: String] = [:]
        package var labels: [String] = []
        /// The first one is what a gate looks at.
        package var metrics: [Metric] = [.loss]
        /// Most tokens of one example; `nil` is the model's context.
        package var maxLength: Int?
        /// Most tokens that the model writes, for metrics of text.
        package var maxNewTokens = 128
        /// At most so many examples; `nil` is all.
        package var limit: Int?
        package init() {}
    }

    /// A format of data, or multiple choice, which only suites have.
    package enum SuiteFormat: String, Codable, Sendable, CaseIterable {
        case auto, text, completion, chat, alpaca, classification, choices
    }

    package struct Evaluate: Codable, Sendable, Equatable {
        /// Of the test split.
        package var metrics: [Metric] = [.loss]
        package var suites: [String: Suite] = [:]
        /// General text, as absolute paths or patterns, by which it is seen what the base could do before.
        package var retention: [String] = []
        /// Of so many test examples what models write in their place is kept, and shown in the report.
        package var samples = 0
        package init() {}
    }

    /// A difference: in the units of what it is a difference of, or as a share of that.
    package enum Change: Codable, Sendable, Equatable {
        case absolute(Double)
        case share(Double)
    }

    package enum OnGateFailure: String, Codable, Sendable, CaseIterable { case keep, hold }

    /// Under which conditions a new version becomes what an alias points at.
    package struct Gate: Codable, Sendable, Equatable {
        package var alias = "production"
        /// Of the test split.
        package var metric: Metric = .loss
        package var minImprovement: Change = .absolute(0)
        /// The largest loss allowed of each suite, as a share: by `retention`, `suite.NAME` or `suite.*`.
        package var maxRegression: [String: Double] = ["retention": 0.01, "suite.*": 0.02]
        package var confidence = 0.95
        package var minExamples = 200
        package var require = ["finite"]
        package var onFail: OnGateFailure = .keep
        package init() {}

        /// The tolerance for a suite; the rule that names it wins over `suite.*`. `nil` where no rule is about it.
        package func tolerance(forSuite name: String) -> Double? {
            maxRegression["suite.\(name)"] ?? maxRegression["suite.*"]
        }
    }

    /// Who else is told of a job.
    package struct Notify: Codable, Sendable, Equatable {
        /// Names of targets that the workspace's settings define.
        package var to: [String] = []
        package var on = NoticeEvent.ofJobs
        package init() {}
    }
}
