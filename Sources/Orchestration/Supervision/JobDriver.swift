import Artifacts
import CLinux
import Foundation
import Glibc
import Logging
import PipelineSpec

/// Takes one started job through its stages until it ends or gives its cores back.
///
/// Everything it knows is in the database and the run directories, so another driver, in another process, can go on
/// where this one was.
struct JobDriver: Sendable {
    let job: String
    let queue: JobQueue
    let configuration: OrchestrationConfiguration
    /// Set when the daemon ends: the driver leaves, the worker stays.
    let shutdown: Shutdown
    let wakeup: Wakeup

    var store: ArtifactStore { ArtifactStore(configuration.workspace.artifacts) }
    var cache: StageCache { StageCache(configuration.workspace.artifacts) }

    var log: JobLog { JobLog(job: job, logger: configuration.logger) }

    /// Drives the job as far as it goes.
    ///
    /// - Parameter isNew: Whether it was started just now, and did not run already when this process came.
    func run(isNew: Bool = true) async throws {
        var isAnnounced = false
        while true {
            let job = try queue.drivenJob(self.job)
            if !isAnnounced { log.started(job.name, isNew: isNew) }
            isAnnounced = true
            guard job.state == .running else {
                if job.state.isFinal { writeReport(of: job) }
                return log.left(job)
            }
            if shutdown.isSet && !shutdown.isDraining { return }
            if isNew && job.live == nil { try Failpoint.jobStarted.hit() }
            if let live = job.live {
                let stage = try self.stage(of: live, in: job)
                try await watch(try await adopt(live, stage.plan.name), live, job)
                continue
            }
            guard let stage = job.stages.first(where: { !$0.state.isFinal }) else {
                do {
                    try conclude(job)
                } catch let error as ArtifactError where error.code == .damaged {
                    // What the stages made is safe; its end can be decided once the store can be read again.
                    log.heldBack(error.description)
                    try queue.holdBack(job.id, why: "\(error.description); then: lorajobs release \(job.id)")
                }
                continue
            }
            if let cause = job.requests.cause ?? (shutdown.isSet ? .drain : nil) {
                // What is finished stays so; what comes next does not begin.
                if cause == .cancel {
                    try queue.finishJob(job.id, .cancelled, reason: nil)
                } else {
                    try queue.suspend(job.id, cause)
                }
                continue
            }
            var begun: Begun?
            do {
                begun = try await begin(stage, job)
            } catch  where hasLiveAttempt {
                // What has become of it is found out as after a restart; to guess here could lose a finished product.
                throw error
            } catch let error as OrchestrationError where error.code == .invalidInput {
                let failure = StageFailure(code: "invalid_input", message: error.description)
                try queue.failBeforeStart(stage, of: job.id, failure)
                log.stageFailed(stage.plan.name, failure)
            } catch  where OrchestrationError.isDiskFull(error) {
                configuration.logger.warning("disk full", metadata: ["job": "\(job.id)", "error": "\(error)"])
                // A write failed although there seemed to be room: not again in the same moment.
                try queue.putBack(job.id, why: "disk full", seconds: configuration.retry.firstPause)
            } catch let error as ArtifactError {
                try postpone(stage, StageFailure(code: error.code.rawValue, message: error.description))
            } catch let error as SpecError {
                try postpone(stage, StageFailure(code: error.code.rawValue, message: error.description))
            }
            // From here on a process lives: an error is the driver's, which finds it again.
            if let begun { try await follow(begun, job) }
        }
    }

    /// An attempt and its process.
    private struct Begun {
        var attempt: LiveAttempt
        var worker: any LaunchedWorker
    }

    private func follow(_ begun: Begun, _ job: DrivenJob) async throws {
        let (attempt, worker) = (begun.attempt, begun.worker)
        try Failpoint.attemptStarted.hit()
        try queue.attemptRuns(attempt, worker.identity)
        try Failpoint.attemptNoted.hit()
        log.stageStarted(
            try stage(of: attempt, in: job).plan.name, attempt: attempt.number, pid: worker.identity.pid ?? 0,
            resumed: attempt.resumeFrom != nil)
        try await watch(worker, attempt, job)
    }

    /// Whether an attempt may be under way; also when that cannot be found out.
    private var hasLiveAttempt: Bool {
        do { return try queue.drivenJob(job).live != nil } catch { return true }
    }

    private func postpone(_ stage: StageRow, _ failure: StageFailure) throws {
        try queue.postpone(stage, of: job, failure, policy: configuration.retry)
        log.stageFailed(stage.plan.name, failure)
    }

    /// Skips a stage, finds its output in the cache, or starts its process.
    private func begin(_ stage: StageRow, _ job: DrivenJob) async throws -> Begun? {
        if let condition = stage.plan.condition, !CacheKey.isTrue(condition, in: job.manifest) {
            try queue.skipStage(stage, of: job.id, why: "\(condition) is not set")
            log.stagePassed(stage.plan.name, .skipped)
            return nil
        }
        guard let descriptor = configuration.descriptors.first(where: { $0.kind == stage.plan.kind }) else {
            throw OrchestrationError(.invalidInput, "this program has no stage of the kind \(stage.plan.kind)")
        }
        let pins = try await pins(of: job)
        let needed = job.needs(of: stage)
        var digests: [String: String] = [:]
        var folders: [String: String] = [:]
        var costs: [String: StageCost] = [:]
        for need in needed {
            guard need.state == .succeeded || need.state == .cached else { continue }
            digests[need.plan.kind] = need.outputDigest
            folders[need.plan.kind] = need.outputPath
            costs[need.plan.kind] = try need.outputPath.flatMap {
                try cache.metadata(ofOutput: URL(filePath: $0, directoryHint: .isDirectory))?.cost
            }
        }
        var key = try CacheKey.compute(
            descriptor, numericsVersion: configuration.numericsVersion, manifest: job.manifest, pins: pins,
            outputs: digests)
        var why = "its inputs or parameters have not been seen before"
        if job.isRerun(stage) {
            // What was made before stays what it is.
            key = CacheKey.again(key, for: job.id)
            why = job.rerunFrom.map { "asked for by retry --from \($0)" } ?? "asked for by retry --fresh"
        } else if let (oldKey, output) = try takenOver(stage, of: job) {
            try queue.markCached(stage, of: job.id, key: oldKey, output, why: "taken from \(job.retryOf ?? "")")
            log.stagePassed(stage.plan.name, .cached)
            return nil
        } else if descriptor.isCacheable {
            switch try cachedOutput(key) {
            case .hit(let output):
                try queue.markCached(stage, of: job.id, key: key, output)
                log.stagePassed(stage.plan.name, .cached)
                return nil
            case .versionGone(let reference): why = "the version it published before, \(reference), is gone"
            case .miss:
                if let earlier = try forgotten(stage, of: job, pins) {
                    try queue.markCached(
                        stage, of: job.id, key: earlier.key, earlier.output,
                        why: "an earlier job did all of this; the output itself was collected")
                    log.stagePassed(stage.plan.name, .cached)
                    return nil
                }
            }
        }
        if configuration.isDiskLow {
            try queue.putBack(job.id, why: "disk low")
            return nil
        }
        // Reading and hashing may have taken a while.
        if shutdown.isSet { return nil }

        // What the store and the queue say comes first: where they cannot be read, no attempt has begun.
        // A stage that reads data compares them with those that production was trained on.
        let comparesOrReads = descriptor.comparesVersions || descriptor.inputs.contains(.data)
        let rivals = try comparesOrReads ? self.rivals(of: job) : nil
        // Data grow from run to run; the stage sees for itself what it can take over.
        let previous =
            try comparesOrReads && !job.isFresh ? queue.previousOutput(of: stage.plan.kind, job: job) : nil
        let limit = try self.limit(of: stage, descriptor, in: job)
        let resume = try queue.resumableFolders(stage, of: job.id, key: key).first(where: Self.hasCheckpoint)
        let attempt = try queue.beginAttempt(
            stage, of: job.id, key: key, why: why, resumeFrom: resume?.checkpoint.path,
            launcher: configuration.launcher.name,
            directory: { configuration.workspace.run(job: job.id, stage: stage.plan.name, attempt: $0) },
            bootID: try WorkerProcess.bootID(), bootSeconds: clinux_boottime())
        var request = StageRequest(
            job: job.id, name: job.name, stage: stage.plan.name, uses: stage.plan.kind, attempt: attempt.number,
            attemptID: attempt.id, workspace: configuration.workspace.root.path, manifest: job.manifest,
            inputs: folders, data: descriptor.inputs.contains(.data) ? pins.data : [:],
            base: pins.base(for: descriptor.inputs), inputDigests: digests, cacheKey: key,
            manifestDigest: job.manifestDigest, resumeFrom: attempt.resumeFrom, threads: job.threads)
        if descriptor.inputs.contains(.suites) { request.suites = pins.suites }
        request.inputCosts = costs
        request.parent = pins.parent
        request.rivals = rivals
        request.previous = previous
        request.limit = limit
        if stage.memoryHalvings > 0 { request.memoryHalvings = stage.memoryHalvings }
        do {
            return Begun(attempt: attempt, worker: try await start(attempt, request, stage, job))
        } catch {
            // No process exists: what was begun ends here, without a charge.
            try abandon(attempt.directory)
            try queue.finishAttempt(
                attempt, of: job.id,
                .interrupted(
                    .lost, StageFailure(code: "not_started", message: "the process did not start: \(error)"),
                    pause: true),
                exitCode: nil, signal: nil, policy: configuration.retry)
            configuration.logger.error("cannot start a stage", metadata: ["job": "\(job.id)", "error": "\(error)"])
            return nil
        }
    }

    private func start(
        _ attempt: LiveAttempt, _ request: StageRequest, _ stage: StageRow, _ job: DrivenJob
    ) async throws -> any LaunchedWorker {
        let directory = attempt.directory
        try Failpoint.attemptRecorded.hit()
        try directory.make()
        try Failpoint.attemptFolderMade.hit()
        try directory.write(request)
        try Failpoint.attemptRequested.hit()
        return try await configuration.launcher.start(
            LaunchRequest(
                attemptID: attempt.id, directory: directory, threads: job.threads, memoryBytes: job.memoryBytes,
                timeoutSeconds: stage.plan.timeoutSeconds, wakeup: wakeup))
    }

    /// The output of a stage before the one of `retry --from`, as the old job left it; `nil` when it is not there any
    /// more.
    private func takenOver(_ stage: StageRow, of job: DrivenJob) throws -> (key: String, output: StageOutput)? {
        guard job.rerunFrom != nil, let old = job.retryOf,
            let found = try queue.output(of: stage.plan.name, ofJob: old),
            access(found.output.path, R_OK | X_OK) == 0
        else { return nil }
        return found
    }

    /// What a stage made earlier that the cache has forgotten, where nothing is left to do for the job: everything it would
    /// make was made, and the version is there.
    private func forgotten(_ stage: StageRow, of job: DrivenJob, _ pins: InputPins) throws -> EarlierOutputs.Output? {
        guard job.rerunFrom == nil, !job.stages.contains(where: { $0.state == .succeeded }) else { return nil }
        let known = job.stages.compactMap { row in
            row.state == .cached ? row.outputDigest.map { (row.plan.name, $0) } : nil
        }
        return try EarlierOutputs(queue: queue, store: store).rest(
            of: job.stages.map(\.plan),
            without: { $0.condition.map { !CacheKey.isTrue($0, in: job.manifest) } ?? false },
            after: Dictionary(known) { $1 }
        ) { plan, outputs in
            guard let descriptor = configuration.descriptors.first(where: { $0.kind == plan.kind }),
                descriptor.isCacheable
            else { return nil }
            return try CacheKey.compute(
                descriptor, numericsVersion: configuration.numericsVersion, manifest: job.manifest, pins: pins,
                outputs: outputs)
        }?[stage.plan.name]
    }

    private func pins(of job: DrivenJob) async throws -> InputPins {
        if let data = job.pins { return try ProtocolJSON.decode(InputPins.self, from: data) }
        // All at once, whatever the first stage reads: so that all stages see the same moment.
        var inputs: Set<StageDescriptor.Input> = []
        for stage in job.stages {
            if let condition = stage.plan.condition, !CacheKey.isTrue(condition, in: job.manifest) { continue }
            inputs.formUnion(configuration.descriptors.first { $0.kind == stage.plan.kind }?.inputs ?? [])
        }
        let wanted = inputs
        let roots = configuration.roots
        let manifest = job.manifest
        var pins = try await offActor { try InputPins.take(manifest, inputs: wanted, roots: roots) }
        pins.parent = try InputPins.parent(of: manifest, in: store)
        try queue.setPins(job.id, try ProtocolJSON.encode(pins))
        return pins
    }

    private static func hasCheckpoint(_ directory: RunDirectory) -> Bool {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.checkpoint.path)) ?? []
        return names.contains { !$0.hasPrefix(".") }
    }

    /// Runs long reading and writing on a thread that nobody else waits for.
    func offActor<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let thread = Thread { continuation.resume(with: Result { try body() }) }
            thread.start()
        }
    }
}

/// The driver left because the daemon ends; the job goes on with the next one.
struct DriverLeft: Error {}
