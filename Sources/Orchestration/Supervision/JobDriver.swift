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

    private var store: ArtifactStore { ArtifactStore(configuration.workspace.artifacts) }
    private var cache: StageCache { StageCache(configuration.workspace.artifacts) }

    private var log: JobLog { JobLog(job: job, logger: configuration.logger) }

    /// Drives the job as far as it goes.
    ///
    /// - Parameter isNew: Whether it was started just now, and did not run already when this process came.
    func run(isNew: Bool = true) async throws {
        var isAnnounced = false
        while true {
            let job = try queue.drivenJob(self.job)
            if !isAnnounced { log.started(job.name, isNew: isNew) }
            isAnnounced = true
            guard job.state == .running else { return log.left(job) }
            if shutdown.isSet { return }
            if isNew && job.live == nil { try Failpoint.jobStarted.hit() }
            if let live = job.live {
                let worker = try adopt(live, stageName(live, job))
                try await watch(worker, live, job)
                continue
            }
            guard let stage = job.stages.first(where: { !$0.state.isFinal }) else {
                let ran = job.stages.contains { $0.state == .succeeded }
                try queue.finishJob(job.id, .succeeded, reason: ran ? nil : "unchanged")
                continue
            }
            if job.isCancelRequested {
                try queue.finishJob(job.id, .cancelled, reason: nil)
                continue
            }
            do {
                try await begin(stage, job)
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
        }
    }

    /// Also when that cannot be found out.
    private var hasLiveAttempt: Bool {
        do { return try queue.drivenJob(job).live != nil } catch { return true }
    }

    private func postpone(_ stage: StageRow, _ failure: StageFailure) throws {
        try queue.postpone(stage, of: job, failure, policy: configuration.retry)
        log.stageFailed(stage.plan.name, failure)
    }

    /// Skips a stage, finds its output in the cache, or starts its process and stays with it.
    private func begin(_ stage: StageRow, _ job: DrivenJob) async throws {
        if let condition = stage.plan.condition, !CacheKey.isTrue(condition, in: job.manifest) {
            try queue.skipStage(stage, of: job.id, why: "\(condition) is not set")
            return log.stagePassed(stage.plan.name, .skipped)
        }
        guard let descriptor = configuration.descriptors.first(where: { $0.kind == stage.plan.kind }) else {
            throw OrchestrationError(.invalidInput, "this program has no stage of the kind \(stage.plan.kind)")
        }
        let pins = try await pins(of: job)
        let needed = transitiveNeeds(of: stage, in: job)
        var digests: [String: String] = [:]
        var folders: [String: String] = [:]
        for need in needed {
            guard need.state == .succeeded || need.state == .cached else { continue }
            digests[need.plan.kind] = need.outputDigest
            folders[need.plan.kind] = need.outputPath
        }
        let key = try CacheKey.compute(
            descriptor, numericsVersion: configuration.numericsVersion, manifest: job.manifest, pins: pins,
            outputs: digests)
        var why = "its inputs or parameters have not been seen before"
        if descriptor.isCacheable {
            switch try cachedOutput(key) {
            case .hit(let output):
                try queue.markCached(stage, of: job.id, key: key, output)
                return log.stagePassed(stage.plan.name, .cached)
            case .versionGone(let reference): why = "the version it published before, \(reference), is gone"
            case .miss: break
            }
        }
        if configuration.isDiskLow { return try queue.putBack(job.id, why: "disk low") }

        let resume = try queue.resumableFolders(stage, of: job.id, key: key).first(where: Self.hasCheckpoint)
        let attempt = try queue.beginAttempt(
            stage, of: job.id, key: key, why: why, resumeFrom: resume?.checkpoint.path,
            directory: { configuration.workspace.run(job: job.id, stage: stage.plan.name, attempt: $0) },
            bootID: try WorkerProcess.bootID(), bootSeconds: clinux_boottime())
        let request = StageRequest(
            job: job.id, name: job.name, stage: stage.plan.name, uses: stage.plan.kind, attempt: attempt.number,
            attemptID: attempt.id, workspace: configuration.workspace.root.path, manifest: job.manifest,
            inputs: folders, data: descriptor.inputs.contains(.data) ? pins.data : [:],
            base: pins.base(for: descriptor.inputs), inputDigests: digests, cacheKey: key,
            manifestDigest: job.manifestDigest, resumeFrom: attempt.resumeFrom, threads: job.threads)
        let worker: Worker
        do {
            worker = try await start(attempt, request)
            log.stageStarted(
                stage.plan.name, attempt: attempt.number, pid: worker.pid ?? 0, resumed: attempt.resumeFrom != nil)
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
            return
        }
        try await watch(worker, attempt, job)
    }

    private func start(_ attempt: LiveAttempt, _ request: StageRequest) async throws -> Worker {
        let directory = attempt.directory
        try Failpoint.attemptRecorded.hit()
        try directory.make()
        try Failpoint.attemptFolderMade.hit()
        try directory.write(request)
        try Failpoint.attemptRequested.hit()
        let started = try await LocalLauncher(command: configuration.stageCommand).start(in: directory, wakeup: wakeup)
        do {
            try Failpoint.attemptStarted.hit()
            try queue.attemptRuns(attempt, pid: started.pid, start: started.startTime)
            try Failpoint.attemptNoted.hit()
        } catch {
            // The attempt is about to end as not started: nothing of it may go on beside the next one.
            WorkerProcess.signalGroup(started.pid, SIGKILL)
            while started.ended == nil { await wakeup.wait(seconds: 0.1) }
            throw error
        }
        return Worker(attempt, started)
    }

    /// The process of an attempt that was begun by a daemon that is no more.
    private func adopt(_ attempt: LiveAttempt, _ stage: String) throws -> Worker {
        var attempt = attempt
        if attempt.pid == nil, attempt.bootID == (try WorkerProcess.bootID()),
            let pid = WorkerProcess.find(workingIn: attempt.directory)
        {
            attempt.pid = pid
            attempt.pidStart = WorkerProcess.startTime(pid)
            try queue.attemptRuns(attempt, pid: pid, start: attempt.pidStart)
        }
        let worker = Worker(attempt, nil)
        if try worker.isAlive() { log.adopted(stage, attempt: attempt.number, pid: attempt.pid) }
        return worker
    }

    private func stageName(_ attempt: LiveAttempt, _ job: DrivenJob) -> String {
        job.stages.first { $0.id == attempt.stage }?.plan.name ?? attempt.stage
    }

    /// Stays with a process until it ends, stops it where it must be stopped, and settles the attempt.
    private func watch(_ worker: Worker, _ attempt: LiveAttempt, _ job: DrivenJob) async throws {
        let timeout = job.stages.first { $0.id == attempt.stage }?.plan.timeoutSeconds ?? .infinity
        var stop = WorkerStop(grace: configuration.grace)
        while try worker.isAlive() {
            if shutdown.isSet { return }
            let now = clinux_boottime()
            if try queue.isCancelRequested(job.id) {
                stop.request(.cancel, worker, now)
            } else if now - attempt.bootSeconds > timeout {
                stop.request(.timeout, worker, now)
            }
            stop.proceed(worker, now)
            await wakeup.wait(seconds: stop.isRequested ? 0.1 : configuration.pollInterval * 2)
        }
        if stop.isRequested, let pid = worker.pid { WorkerProcess.signalGroup(pid, SIGKILL) }
        try Failpoint.attemptEnded.hit()
        let (outcome, exit) = try await judge(worker, attempt, job, stop.cause, timeout)
        var code: Int32?
        var signal: Int32?
        switch exit {
        case .code(let value): code = value
        case .signal(let value): signal = value
        case nil: code = outcome.result?.exitCode
        }
        if case .interrupted = outcome { try abandon(attempt.directory) }
        try queue.finishAttempt(
            attempt, of: job.id, outcome, exitCode: code, signal: signal, policy: configuration.retry)
        try Failpoint.attemptSettled.hit()
        log.attemptEnded(
            stageName(attempt, job), attempt: attempt.number, outcome,
            seconds: clinux_boottime() - attempt.bootSeconds, signal: signal)
    }

    /// Makes sure that no process that was started for an attempt, and has not yet begun, ever begins.
    private func abandon(_ directory: RunDirectory) throws {
        guard unlink(directory.request.path) == 0 || errno == ENOENT else {
            throw OrchestrationError(system: "remove", directory.request.path, errno)
        }
    }

    /// What an attempt whose process is no more has come to.
    private func judge(
        _ worker: Worker, _ attempt: LiveAttempt, _ job: DrivenJob, _ stopCause: WorkerStop.Cause?, _ timeout: Double
    ) async throws -> (AttemptOutcome, ChildExit?) {
        var result: StageResult?
        do {
            result = try attempt.directory.readResult()
        } catch let error as SpecError where error.code == .format {
            configuration.logger.warning("unreadable result", metadata: ["job": "\(job.id)", "error": "\(error)"])
        }
        if let found = result, found.attemptID != attempt.id { result = nil }
        if let result, result.exitCode == WorkerExit.done.rawValue {
            // Done is done, even if it was asked to stop in its last moment.
            return (try await finalise(result, attempt, job), worker.exit)
        }
        switch stopCause {
        case .cancel: return (.cancelled, worker.exit)
        case .timeout:
            let message = "stopped after its time limit of \(Int(timeout)) s; retry goes on from the checkpoint"
            return (
                .failedForGood(.timeout, StageFailure(code: "timeout", message: message), result), worker.exit
            )
        case nil: break
        }
        var exit = worker.exit
        if exit == nil, let code = result?.exitCode { exit = .code(code) }
        switch exit {
        case .code(WorkerExit.invalidInput.rawValue):
            let failure =
                result?.failure
                ?? StageFailure(
                    code: "invalid_input", message: "the stage refused its input; see \(attempt.directory.log.path)")
            return (.failedForGood(.failed, failure, result), exit)
        case .code(WorkerExit.tryAgain.rawValue):
            let failure =
                result?.failure
                ?? StageFailure(
                    code: "try_again", message: "the stage asked to be tried again; see \(attempt.directory.log.path)")
            return (.failedForNow(.failed, failure, result), exit)
        case .code(WorkerExit.stopped.rawValue):
            return (
                .interrupted(.preempted, StageFailure(code: "stopped", message: "stopped from outside"), pause: true),
                exit
            )
        case .code(let code):
            let text = code == 0 ? "ended without a result" : "crashed with exit code \(code)"
            let failure =
                result?.failure
                ?? StageFailure(code: "crashed", message: "\(text); see \(attempt.directory.log.path)")
            return (.failedForNow(.crashed, failure, result), exit)
        case .signal(let number):
            let failure = StageFailure(
                code: "crashed", message: "ended by signal \(number); see \(attempt.directory.log.path)")
            return (.failedForNow(.crashed, failure, result), exit)
        case nil:
            // Nobody saw it end: it died while no daemon ran, or the machine did.
            let isSameBoot = attempt.bootID == (try WorkerProcess.bootID())
            let failure = StageFailure(
                code: isSameBoot ? "crashed" : "lost",
                message: isSameBoot ? "ended without a result while no daemon watched" : "the machine was restarted")
            return (.interrupted(isSameBoot ? .crashed : .lost, failure, pause: false), nil)
        }
    }

    /// Publishes and keeps what a stage made.
    ///
    /// Each step may be repeated: after a crash in between, the next daemon does it again and nothing happens twice.
    private func finalise(
        _ result: StageResult, _ attempt: LiveAttempt, _ job: DrivenJob
    ) async throws -> AttemptOutcome {
        guard let stage = job.stages.first(where: { $0.id == attempt.stage }) else {
            throw OrchestrationError(.notFound, "attempt \(attempt.id) belongs to no stage of job \(job.id)")
        }
        let key = try queue.drivenJob(job.id).stages.first { $0.id == attempt.stage }?.cacheKey
        guard let key else { throw OrchestrationError(.notFound, "stage \(attempt.stage) has no cache key") }
        let store = self.store
        let cache = self.cache
        do {
            return try await offActor {
                var published: [StageCache.PublishedVersion] = []
                for publication in result.publications {
                    let version = try store.publish(publication, from: attempt.directory.out, attemptID: attempt.id)
                    published.append(StageCache.PublishedVersion(version))
                }
                try Failpoint.finalisePublished.hit()
                let output = try cache.store(
                    key: key, folder: attempt.directory.out,
                    metadata: StageCache.Metadata(
                        kind: stage.plan.kind, created: Date(), attemptID: attempt.id, metrics: result.metrics,
                        published: published))
                let json = try ProtocolJSON.encode(published)
                try Failpoint.finaliseCached.hit()
                return .succeeded(
                    result,
                    StageOutput(
                        digest: output.digest, path: output.folder.path,
                        published: published.isEmpty ? nil : String(decoding: json, as: UTF8.self),
                        adapter: Self.reference(published)))
            }
        } catch let error as ArtifactError where [.invalidFolder, .invalidName].contains(error.code) {
            return .failedForGood(
                .failed, StageFailure(code: error.code.rawValue, message: error.description), result)
        } catch  where OrchestrationError.isDiskFull(error) {
            // The worker is done and its product is safe in the run directory: wait for room, then finish.
            configuration.logger.warning("no room to publish", metadata: ["job": "\(job.id)"])
            while !shutdown.isSet && configuration.isDiskLow {
                await wakeup.wait(seconds: configuration.pollInterval)
            }
            if shutdown.isSet { throw DriverLeft() }
            await wakeup.wait(seconds: configuration.pollInterval)
            return try await finalise(result, attempt, job)
        }
    }

    private enum CacheAnswer {
        case hit(StageOutput)
        case versionGone(String)
        case miss
    }

    /// An earlier output, if what it published is still in the store.
    private func cachedOutput(_ key: String) throws -> CacheAnswer {
        guard let output = try cache.lookup(key) else { return .miss }
        let later = try queue.published(underKey: key).map {
            try ProtocolJSON.decode([StageCache.PublishedVersion].self, from: Data($0.utf8))
        }
        for published in [output.metadata.published] + later where try published.allSatisfy(exists) {
            return .hit(
                StageOutput(digest: output.digest, path: output.folder.path, adapter: Self.reference(published)))
        }
        return .versionGone(Self.reference(output.metadata.published) ?? "")
    }

    private func exists(_ version: StageCache.PublishedVersion) throws -> Bool {
        do {
            return try store.versions(of: version.name, in: version.collection)
                .contains { $0.number == version.version && $0.digest == version.digest }
        } catch let error as ArtifactError where error.code == .noSuchArtifact {
            return false
        }
    }

    /// `name:3`, of an adapter if there is one.
    private static func reference(_ published: [StageCache.PublishedVersion]) -> String? {
        let chosen = published.first { $0.collection == .adapters } ?? published.first
        return chosen.map { "\($0.name):\($0.version)" }
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
        let pins = try await offActor { try InputPins.take(job.manifest, inputs: wanted, roots: roots) }
        try queue.setPins(job.id, try ProtocolJSON.encode(pins))
        return pins
    }

    private func transitiveNeeds(of stage: StageRow, in job: DrivenJob) -> [StageRow] {
        var wanted = Set(stage.plan.needs)
        // Against the topological order, each stage is met after all that need it.
        for candidate in job.stages.reversed() where wanted.contains(candidate.plan.name) {
            wanted.formUnion(candidate.plan.needs)
        }
        return job.stages.filter { wanted.contains($0.plan.name) }
    }

    private static func hasCheckpoint(_ directory: RunDirectory) -> Bool {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.checkpoint.path)) ?? []
        return names.contains { !$0.hasPrefix(".") }
    }

    /// Runs long reading and writing on a thread that nobody else waits for.
    private func offActor<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let thread = Thread { continuation.resume(with: Result { try body() }) }
            thread.start()
        }
    }
}

/// The driver left because the daemon ends; the job goes on with the next one.
struct DriverLeft: Error {}
