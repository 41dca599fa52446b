/// The keys that say what is measured, published and promoted.
extension ManifestSchema {
    static let resultFields: [ManifestField] = [
        ManifestField(
            "evaluate.metrics", .list(of: JobManifest.Metric.allCases.map(\.rawValue)),
            "What is measured on the test split, beside loss and perplexity.",
            get: { .array($0.evaluate.metrics.map { .string($0.rawValue) }) },
            set: { $0.evaluate.metrics = try metrics($1) }),
        ManifestField(
            "evaluate.suites", .table(of: suiteMembers, required: ["data"]),
            "Further sets of examples by name, each with data and metrics of its own; training sees none of them.",
            get: { .object($0.evaluate.suites.mapValues(json)) },
            set: { manifest, value in
                guard case .object(let suites) = value else { throw SpecError(.key, "evaluate.suites is no mapping") }
                manifest.evaluate.suites = try suites.mapValues(suite)
            }),
        ManifestField(
            "evaluate.retention", .orNull(.paths),
            "General text that the adapter is not trained on: it shows whether what the base could do is kept.",
            get: { $0.evaluate.retention.isEmpty ? .null : .array($0.evaluate.retention.map { .string($0) }) },
            set: { $0.evaluate.retention = $1 == .null ? [] : try $1.strings() }),
        ManifestField(
            "evaluate.samples", .integer(0...100),
            "Of so many test examples the report shows what base, production and the new version write. It then holds text "
                + "of the data.",
            get: { .integer($0.evaluate.samples) }, set: { $0.evaluate.samples = try $1.int() }),
        ManifestField(
            "merge",
            .switchable(
                off: .bool(false),
                members: [
                    .init(
                        "dtype", .choice(JobManifest.MergeDType.allCases.map(\.rawValue)),
                        .string(JobManifest.Merge().dtype.rawValue), "Number format of the merged weights.")
                ]),
            "Whether the checkpoint with the adapter merged in is published too.",
            get: { $0.merge.map { .object(["dtype": .string($0.dtype.rawValue)]) } ?? .bool(false) },
            set: { manifest, value in
                guard case .object(let members) = value else { return manifest.merge = nil }
                var merge = JobManifest.Merge()
                if let dtype = members["dtype"] { merge.dtype = try dtype.choice(JobManifest.MergeDType.self) }
                manifest.merge = merge
            }),
        ManifestField(
            "gate", .record(shorthand: "alias", members: gateMembers),
            "Under which conditions the new version becomes production; `gate: production` takes the defaults.",
            get: { $0.gate.map(json) ?? .null },
            set: { $0.gate = $1 == .null ? nil : try gate($1) }),
        ManifestField(
            "notify", .record(shorthand: "to", members: notifyMembers),
            "Who is told of the job, beside those whom the workspace tells: names of targets in `lorajobs.yaml`.",
            get: { manifest in
                guard let notify = manifest.notify else { return .null }
                return .object([
                    "to": .array(notify.to.map { .string($0) }), "on": .array(notify.on.map { .string($0.rawValue) }),
                ])
            },
            set: { manifest, value in
                guard value != .null else { return manifest.notify = nil }
                var notify = JobManifest.Notify()
                if let names = value["to"] { notify.to = try names.strings() }
                if let words = value["on"] {
                    notify.on = try words.strings().map { try JSONValue.string($0).choice(NoticeEvent.self) }
                }
                manifest.notify = notify
            }),
    ]

    private static let notifyMembers: [ValueConstraint.Member] = [
        .init("to", .names, .array([]), "Targets by their names; a manifest holds no address itself."),
        .init(
            "on", .list(of: NoticeEvent.ofJobs.map(\.rawValue)),
            .array(NoticeEvent.ofJobs.map { .string($0.rawValue) }), "What they are told."),
    ]

    private static let suiteMembers: [ValueConstraint.Member] = [
        .init("data", .paths, .array([]), "Files or patterns."),
        .init(
            "format", .choice(JobManifest.SuiteFormat.allCases.map(\.rawValue)), "auto",
            "What a record is; `choices` is {question, choices, answer}."),
        .init("columns", .columns, .object([:]), "Which of the record's own fields holds each part."),
        .init("labels", .names, .array([]), "Names of the classes in their order."),
        .init(
            "metrics", .list(of: JobManifest.Metric.allCases.map(\.rawValue)), .array(["loss"]),
            "What is measured; a gate looks at the first."),
        .init(
            "max_length", .orWord("auto", .integer(2...1_048_576)), "auto",
            "Most tokens of one example; `auto` is the model's context."),
        .init(
            "max_new_tokens", .integer(1...65536), .integer(JobManifest.Suite().maxNewTokens), "Most tokens written."),
        .init("limit", .orNull(.integer(1...1_000_000)), .null, "At most so many examples, chosen by their content."),
    ]

    private static let gateMembers: [ValueConstraint.Member] = {
        let gate = JobManifest.Gate()
        return [
            .init("alias", .alias, .string(gate.alias), "The alias that moves."),
            .init(
                "metric", .choice(JobManifest.Metric.allCases.map(\.rawValue)), .string(gate.metric.rawValue),
                "The metric of the test split that must improve."),
            .init(
                "min_improvement", .change, .integer(0),
                "How much, at the low end of the interval: more than this, in the metric's units or as a share."),
            .init(
                "max_regression", .tolerances, tolerances(gate.maxRegression),
                "How much worse suites may be, at the bad end of the interval."),
            .init("confidence", .share, .string(Quantity.percent(gate.confidence)), "Of the two-sided interval."),
            .init("min_examples", .integer(1...1_000_000_000), .integer(gate.minExamples), "Of the test split."),
            .init(
                "require", .list(of: ["finite"]), .array(gate.require.map { .string($0) }), "What must hold besides."),
            .init(
                "on_fail", .choice(JobManifest.OnGateFailure.allCases.map(\.rawValue)), .string(gate.onFail.rawValue),
                "Whether a version that fails is only kept, or held until somebody promotes or rejects it."),
        ]
    }()

    private static func metrics(_ value: JSONValue) throws -> [JobManifest.Metric] {
        try value.strings().map { try JSONValue.string($0).choice(JobManifest.Metric.self) }
    }

    private static func json(_ suite: JobManifest.Suite) -> JSONValue {
        .object([
            "data": .array(suite.data.map { .string($0) }), "format": .string(suite.format.rawValue),
            "columns": .object(suite.columns.mapValues { .string($0) }),
            "labels": .array(suite.labels.map { .string($0) }),
            "metrics": .array(suite.metrics.map { .string($0.rawValue) }),
            "max_length": suite.maxLength.map { .integer($0) } ?? "auto",
            "max_new_tokens": .integer(suite.maxNewTokens), "limit": suite.limit.map { .integer($0) } ?? .null,
        ])
    }

    private static func suite(_ value: JSONValue) throws -> JobManifest.Suite {
        var suite = JobManifest.Suite()
        if let data = value["data"] { suite.data = try data.strings() }
        if let format = value["format"] { suite.format = try format.choice(JobManifest.SuiteFormat.self) }
        if let columns = value["columns"] { suite.columns = try columns.stringMap() }
        if let labels = value["labels"] { suite.labels = try labels.strings() }
        if let names = value["metrics"] { suite.metrics = try metrics(names) }
        if let length = value["max_length"], length != "auto" { suite.maxLength = try length.int() }
        if let count = value["max_new_tokens"] { suite.maxNewTokens = try count.int() }
        if let limit = value["limit"], limit != .null { suite.limit = try limit.int() }
        return suite
    }

    private static func tolerances(_ rules: [String: Double]) -> JSONValue {
        .object(rules.mapValues { .string(Quantity.percent($0)) })
    }

    private static func json(_ gate: JobManifest.Gate) -> JSONValue {
        let change: JSONValue =
            switch gate.minImprovement {
            case .absolute(let value): .number(value)
            case .share(let share): .string(share < 0 ? "-" + Quantity.percent(-share) : Quantity.percent(share))
            }
        return .object([
            "alias": .string(gate.alias), "metric": .string(gate.metric.rawValue), "min_improvement": change,
            "max_regression": tolerances(gate.maxRegression), "confidence": .string(Quantity.percent(gate.confidence)),
            "min_examples": .integer(gate.minExamples), "require": .array(gate.require.map { .string($0) }),
            "on_fail": .string(gate.onFail.rawValue),
        ])
    }

    private static func gate(_ value: JSONValue) throws -> JobManifest.Gate {
        var gate = JobManifest.Gate()
        if let alias = value["alias"] { gate.alias = try alias.string() }
        if let metric = value["metric"] { gate.metric = try metric.choice(JobManifest.Metric.self) }
        switch value["min_improvement"] {
        case .string(let text)?:
            let isNegative = text.hasPrefix("-")
            let share = try JSONValue.string(isNegative ? String(text.dropFirst()) : text).share()
            gate.minImprovement = .share(isNegative ? -share : share)
        case let number?: gate.minImprovement = .absolute(try number.double())
        case nil: break
        }
        if case .object(let rules)? = value["max_regression"] {
            gate.maxRegression = try rules.mapValues { try $0.share() }
        }
        if let confidence = value["confidence"] { gate.confidence = try confidence.share() }
        if let count = value["min_examples"] { gate.minExamples = try count.int() }
        if let words = value["require"] { gate.require = try words.strings() }
        if let word = value["on_fail"] { gate.onFail = try word.choice(JobManifest.OnGateFailure.self) }
        return gate
    }
}
