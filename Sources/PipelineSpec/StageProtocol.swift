/// One input file as it was when the job pinned it: what is appended later belongs to the next run.
package struct PinnedFile: Codable, Sendable, Equatable {
    /// Absolute path, symlinks resolved.
    package var path: String
    /// How many bytes from the start belong to the input.
    package var length: Int64
    /// `sha256:` and 64 hexadecimal digits over those bytes.
    package var digest: String

    package init(path: String, length: Int64, digest: String) {
        self.path = path
        self.length = length
        self.digest = digest
    }
}

/// A published version as it was when an attempt began, for a stage that compares with it.
package struct PinnedVersion: Codable, Sendable, Equatable {
    package var number: Int
    /// Of the store.
    package var digest: String
    /// The version's folder.
    package var path: String

    package init(number: Int, digest: String, path: String) {
        self.number = number
        self.digest = digest
        self.path = path
    }
}

/// The versions that a new one is measured against.
package struct PinnedRivals: Codable, Sendable, Equatable {
    /// The alias that is looked at, and the version it points to; `nil` when it points nowhere.
    package var alias: String
    package var champion: PinnedVersion?
    /// Every version that the alias has ever pointed to, is still there, and was not rejected; the newest first.
    package var promoted: [PinnedVersion]

    package init(alias: String, champion: PinnedVersion?, promoted: [PinnedVersion]) {
        self.alias = alias
        self.champion = champion
        self.promoted = promoted
    }
}

/// When a stage that may end early is to end with what it has: at whichever comes first.
package struct StageLimit: Codable, Sendable, Equatable {
    /// Seconds after the process began, on a clock that no setting moves and that goes on while the machine sleeps.
    package var seconds: Double?
    /// A moment, in seconds since 1970.
    package var until: Double?
    /// A step of the training, for one that is done again.
    package var step: Int?

    package init(seconds: Double? = nil, until: Double? = nil, step: Int? = nil) {
        self.seconds = seconds
        self.until = until
        self.step = step
    }
}

/// Where a stage has ended before its work was done.
package struct StageCut: Codable, Sendable, Equatable {
    /// Steps done, and steps that there were to do.
    package var step: Int
    package var steps: Int

    package init(step: Int, steps: Int) {
        self.step = step
        self.steps = steps
    }

    /// `ended at step 120 of 400`
    package var text: String { "ended at step \(step) of \(steps)" }
}

/// What making an output took, wherever it is used again: as its process counted, and what it wrote meanwhile.
package struct StageCost: Codable, Sendable, Equatable {
    /// Processor time of all threads, in seconds.
    package var cpuSeconds: Double
    /// The most memory that the process held at a time.
    package var peakRSSBytes: Int64
    /// The digest of its `log.txt`; absent where there was none.
    package var log: String?

    enum CodingKeys: String, CodingKey {
        case cpuSeconds = "cpu_seconds"
        case peakRSSBytes = "peak_rss_bytes"
        case log
    }

    package init(cpuSeconds: Double, peakRSSBytes: Int64, log: String?) {
        self.cpuSeconds = cpuSeconds
        self.peakRSSBytes = peakRSSBytes
        self.log = log
    }
}

/// What a stage process is asked to do: the content of `request.json`.
package struct StageRequest: Codable, Sendable, Equatable {
    package var schema = 1
    /// The job's ULID and its name.
    package var job: String
    package var name: String
    /// The stage's name in the pipeline, its kind, and which try this is, from 1.
    package var stage: String
    package var uses: String
    package var attempt: Int
    /// Identifies this attempt across the workspace; publishing is idempotent on it.
    package var attemptID: String
    /// Absolute path of the workspace.
    package var workspace: String
    /// Every value of the manifest, resolved.
    package var manifest: JobManifest
    /// Absolute paths of the `out` folders this stage may read, by the *kind* (`uses`) of the stage that made
    /// them: the transitive needs of this stage, cached or run.
    package var inputs: [String: String]
    /// The data files pinned for this job, by split key of the manifest (`train`, `validation`, `test`).
    package var data: [String: [PinnedFile]]
    /// The files of suites by their names, and those of the general text, pinned, for a stage that reads them.
    package var suites: [String: [PinnedFile]]?
    /// The version that training goes on from.
    package var parent: PinnedVersion?
    /// What a stage that compares versions compares with.
    package var rivals: PinnedRivals?
    /// The files of the base checkpoint and tokenizer, pinned. Empty when the base is a configuration alone.
    package var base: [PinnedFile]
    /// Digests of the outputs this stage reads, by kind; recorded in the lineage.
    package var inputDigests: [String: String]
    /// What making those outputs took, by kind, where it is known; recorded in the lineage.
    package var inputCosts: [String: StageCost]?
    /// The key this stage's output is cached under.
    package var cacheKey: String
    /// The submitted manifest's digest.
    package var manifestDigest: String
    /// A `checkpoint/` folder of an earlier attempt to go on from, if there is one.
    package var resumeFrom: String?
    /// The `out` folder of the same stage in the newest job of the same name, if there is one. A stage may take parts of
    /// it over when it finds them unchanged; its product is the same without.
    package var previous: String?
    /// How many threads the process may keep busy.
    package var threads: Int
    /// How often the micro-batch is halved, after memory ran out; absent means never. The steps stay what they are.
    package var memoryHalvings: Int?
    /// When to end with what there is; absent where the job may take its time.
    package var limit: StageLimit?

    package init(
        job: String, name: String, stage: String, uses: String, attempt: Int, attemptID: String, workspace: String,
        manifest: JobManifest, inputs: [String: String], data: [String: [PinnedFile]], base: [PinnedFile],
        inputDigests: [String: String], cacheKey: String, manifestDigest: String, resumeFrom: String?, threads: Int
    ) {
        self.job = job
        self.name = name
        self.stage = stage
        self.uses = uses
        self.attempt = attempt
        self.attemptID = attemptID
        self.workspace = workspace
        self.manifest = manifest
        self.inputs = inputs
        self.data = data
        self.base = base
        self.inputDigests = inputDigests
        self.cacheKey = cacheKey
        self.manifestDigest = manifestDigest
        self.resumeFrom = resumeFrom
        self.threads = threads
    }
}

/// Why a stage failed, in words for people and a code for programs.
package struct StageFailure: Codable, Sendable, Equatable {
    /// A stable word such as `inputs_changed`, `non_finite_loss`, `base_incomplete`.
    package var code: String
    /// What happened, where, and what to do: one or two sentences.
    package var message: String

    package init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// A folder under `out/` that becomes a new version in the store when the attempt is finalised.
package struct Publication: Codable, Sendable, Equatable {
    /// `adapters` or `models`.
    package var collection: String
    /// The name in the store.
    package var name: String
    /// The folder, relative to `out/`. It holds `lorajobs.json`, to which the store adds the version number.
    package var folder: String

    package init(collection: String, name: String, folder: String) {
        self.collection = collection
        self.name = name
        self.folder = folder
    }
}

/// How a stage attempt ended: the content of `result.json`.
package struct StageResult: Codable, Sendable, Equatable {
    package var schema = 1
    package var attemptID: String
    /// One of ``WorkerExit``'s values.
    package var exitCode: Int32
    package var failure: StageFailure?
    /// Numbers worth a line in `show`: loss, perplexity, tokens per second and so on.
    package var metrics: [String: Double]
    /// What the daemon is to publish when it finalises the attempt.
    package var publications: [Publication]
    /// Where it has ended before its work was done; absent where it has done it.
    package var cut: StageCut?
    package var peakRSSBytes: Int64
    package var cpuSeconds: Double

    package init(
        attemptID: String, exitCode: Int32, failure: StageFailure? = nil, metrics: [String: Double] = [:],
        publications: [Publication] = [], peakRSSBytes: Int64 = 0, cpuSeconds: Double = 0
    ) {
        self.attemptID = attemptID
        self.exitCode = exitCode
        self.failure = failure
        self.metrics = metrics
        self.publications = publications
        self.peakRSSBytes = peakRSSBytes
        self.cpuSeconds = cpuSeconds
    }
}

/// One line of `progress.jsonl`. Absent values are unknown, never zero.
package struct ProgressEvent: Codable, Sendable, Equatable {
    /// Seconds since 1970.
    package var time: Double
    /// Share of the stage that is done, 0…1.
    package var fraction: Double
    package var step: Int?
    package var steps: Int?
    /// Mean loss per trained token since the last event, in nats.
    package var loss: Double?
    package var learningRate: Double?
    package var tokensPerSecond: Double?
    package var etaSeconds: Double?
    /// A sentence for people, where numbers do not say it.
    package var message: String?

    package init(
        time: Double, fraction: Double, step: Int? = nil, steps: Int? = nil, loss: Double? = nil,
        learningRate: Double? = nil, tokensPerSecond: Double? = nil, etaSeconds: Double? = nil, message: String? = nil
    ) {
        self.time = time
        self.fraction = fraction
        self.step = step
        self.steps = steps
        self.loss = loss
        self.learningRate = learningRate
        self.tokensPerSecond = tokensPerSecond
        self.etaSeconds = etaSeconds
        self.message = message
    }
}

/// Metrics that a stage reports and the control half reads again.
package enum StageMetric {
    /// How fast a training was, in 10⁹ counted operations a second.
    package static let trainingGigaflops = "training_gflops"
    /// Operations of a token that is trained on, counted from shapes.
    package static let operationsPerToken = "operations_per_token"
    /// Bits of the number format of the large matrices.
    package static let precisionBits = "precision_bits"
    /// The lowest loss on the validation split.
    package static let validationLoss = validation("loss")

    /// A metric of the validation split.
    package static func validation(_ metric: String) -> String { "validation_\(metric)" }
}
