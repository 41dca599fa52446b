import Artifacts
import Foundation
import Glibc
import Orchestration
import PipelineSpec
import TestSupport
import Testing

/// A run of the real programs whose every change of a folder was recorded.
///
/// The folder lies at the same path for all states that are made of it, because the queue holds absolute paths.
final class RecordedRun: @unchecked Sendable {
    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    /// A manifest that was put into the inbox. Its bytes are unlike any other's.
    struct Drop: Sendable {
        var name: String
        var bytes: Data
        var isGood: Bool
    }

    let name: String
    /// What holds everything; removed with this object.
    private let home: URL
    /// The disk: what is recorded.
    let disk: URL
    let workspace: Workspace
    /// Beside the disk: logs, and what stands in for stages.
    let outside: URL
    private let log: URL
    private let programs: URL
    private(set) var image = DiskImage()
    private(set) var inodes: [UInt64: Int] = [:]
    private(set) var recording = Recording([])
    private(set) var drops: [Drop] = []
    /// The moves of aliases, in their order.
    private(set) var moves: [Told] = []
    /// The adapter that the run itself has made, if any.
    private(set) var adapterDigest: String?
    /// What its stages have made, by name.
    private(set) var outputDigests: [String: String] = [:]
    private var daemon: Process?

    init(_ name: String) throws {
        self.name = name
        home = try Self.fastFolder().appending(path: "lorajobs-power-\(UUID().uuidString.lowercased())")
        disk = home.appending(path: "disk")
        outside = home.appending(path: "outside")
        log = outside.appending(path: "operations")
        for folder in [disk, outside] {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        }
        workspace = Workspace(root: disk.appending(path: "work", directoryHint: .isDirectory))
        programs = try Self.programFolder()
        (image, inodes) = try DiskImage.read(disk)
    }

    deinit {
        if let daemon, daemon.isRunning {
            kill(daemon.processIdentifier, SIGKILL)
            daemon.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: home)
    }

    /// Memory, when there is enough of it: thousands of small disks are made, and the real one need not wait for them.
    private static func fastFolder() throws -> URL {
        let memory = URL(filePath: "/dev/shm", directoryHint: .isDirectory)
        let values = try? memory.resourceValues(forKeys: [.volumeAvailableCapacityKey])
        let isRoomy = (values?.volumeAvailableCapacity ?? 0) > 1 << 30 && access(memory.path, W_OK) == 0
        return (isRoomy ? memory : FileManager.default.temporaryDirectory).resolvingSymlinksInPath()
    }

    /// Where the built programs and the recorder lie: beside the tests.
    private static func programFolder() throws -> URL {
        let arguments = ProcessInfo.processInfo.arguments.map { URL(filePath: $0) }
        let folders = ([Bundle.main.executableURL].compactMap { $0 } + arguments).map {
            $0.resolvingSymlinksInPath().deletingLastPathComponent()
        }
        let wanted = ["lorajobs", "power-loss-subject", "libPowerLossRecorder.so"]
        for folder in folders {
            let isComplete = wanted.allSatisfy {
                FileManager.default.isReadableFile(atPath: folder.appending(path: $0).path)
            }
            if isComplete { return folder }
        }
        throw Failed(description: "\(wanted) are not beside the tests; looked at \(folders.map(\.path))")
    }

    var program: URL { programs.appending(path: "lorajobs") }

    // MARK: While recording

    private func start(_ program: String, _ arguments: [String], _ environment: [String: String], to file: String)
        throws
        -> Process
    {
        let process = Process()
        process.executableURL = programs.appending(path: program)
        process.arguments = arguments
        process.currentDirectoryURL =
            FileManager.default.fileExists(atPath: workspace.root.path) ? workspace.root : disk
        var all = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("LORAJOBS_") }
        all["HF_HUB_CACHE"] = outside.appending(path: "no-cache").path
        all["LD_PRELOAD"] = programs.appending(path: "libPowerLossRecorder.so").path
        all["LORAJOBS_RECORD_ROOT"] = disk.path
        all["LORAJOBS_RECORD_LOG"] = log.path
        process.environment = all.merging(environment) { $1 }
        let output = outside.appending(path: file)
        FileManager.default.createFile(atPath: output.path, contents: nil)
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = process.standardOutput
        try process.run()
        return process
    }

    private static func end(_ process: Process, within seconds: Double = 60) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while process.isRunning {
            if ContinuousClock.now > deadline {
                kill(process.processIdentifier, SIGKILL)
                process.waitUntilExit()
                throw Failed(description: "\(process.arguments ?? []) did not end")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Runs a verb to its good end; then notes what it has told, if anything.
    @discardableResult
    func run(
        _ arguments: String..., program: String = "lorajobs", telling told: Told? = nil
    ) async throws -> String {
        let process = try start(program, arguments, [:], to: "verb.txt")
        try await Self.end(process)
        let output = try String(contentsOf: outside.appending(path: "verb.txt"), encoding: .utf8)
        guard process.terminationStatus == 0 else {
            throw Failed(description: "\(arguments) ended with \(process.terminationStatus): \(output)")
        }
        if let told { try note(told) }
        return output
    }

    func startDaemon() async throws {
        let environment = ["LORAJOBS_CHECKPOINT_SECONDS": "0", "LORAJOBS_RETRY_SECONDS": "0.1"]
        daemon = try start("lorajobs", ["daemon", "--verbose"], environment, to: "daemon.txt")
    }

    func endDaemon() async throws {
        guard let daemon else { return }
        kill(daemon.processIdentifier, SIGTERM)
        try await Self.end(daemon)
        self.daemon = nil
    }

    func note(_ told: Told) throws {
        if case .alias = told { moves.append(told) }
        let text = String(decoding: try JSONEncoder().encode(told), as: UTF8.self)
        try Recording.append(log) { [Operation(kind: .mark, text: text)] }
    }

    /// Waits until something is so.
    func until(_ what: String, _ condition: () throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try !condition() {
            guard ContinuousClock.now < deadline else {
                let said = try? String(contentsOf: outside.appending(path: "daemon.txt"), encoding: .utf8)
                throw Failed(description: "\(name): waited in vain until \(what); the daemon said: \(said ?? "")")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Adds a manifest to those the inbox may hold.
    func manifest(_ name: String, _ text: String, isGood: Bool = true) -> Drop {
        let drop = Drop(name: name, bytes: Data(text.utf8), isGood: isGood)
        drops.append(drop)
        return drop
    }

    /// A producer that keeps to the contract: writes beside, syncs, renames into the inbox, syncs the inbox.
    func produce(_ drop: Drop, tenant: String? = nil) throws {
        let inbox = workspace.inbox.path.hasSuffix("/") ? String(workspace.inbox.path.dropLast()) : workspace.inbox.path
        let folder = tenant.map { "\(inbox)/\($0)" } ?? inbox
        let draft = "\(folder)/.\(drop.name).tmp", place = "\(folder)/\(drop.name)"
        func descriptor(_ path: String, _ flags: Int32) throws -> (Int32, UInt64) {
            let opened = open(path, flags | O_CLOEXEC, 0o644)
            var status = stat()
            guard opened >= 0, fstat(opened, &status) == 0 else { throw Failed(description: "\(path): \(errno)") }
            return (opened, UInt64(status.st_ino))
        }
        if tenant != nil {
            try Recording.append(log) {
                guard mkdir(folder, 0o755) == 0 else { throw Failed(description: "mkdir \(folder)") }
                let (parent, inode) = try descriptor(inbox, O_RDONLY | O_DIRECTORY)
                fsync(parent)
                close(parent)
                return [
                    Operation(kind: .makeFolder, text: folder), Operation(kind: .sync, inode: inode, b: 1, text: inbox),
                ]
            }
        }
        try Recording.append(log) {
            let (file, inode) = try descriptor(draft, O_WRONLY | O_CREAT | O_EXCL)
            defer { close(file) }
            let count = drop.bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
            guard count == drop.bytes.count, fsync(file) == 0 else { throw Failed(description: draft) }
            return [
                Operation(kind: .open, inode: inode, b: 1, text: draft),
                Operation(kind: .write, inode: inode, text: draft, data: Array(drop.bytes)),
                Operation(kind: .sync, inode: inode, text: draft),
            ]
        }
        try Recording.append(log) {
            guard rename(draft, place) == 0 else { throw Failed(description: place) }
            let (parent, inode) = try descriptor(folder, O_RDONLY | O_DIRECTORY)
            defer { close(parent) }
            guard fsync(parent) == 0 else { throw Failed(description: folder) }
            return [
                Operation(kind: .rename, text: draft, data: Array(place.utf8)),
                Operation(kind: .sync, inode: inode, b: 1, text: folder),
            ]
        }
        try note(.dropped(drop.name))
    }

    /// Drops a manifest with `submit`; the id of its job.
    func submit(_ drop: Drop) async throws -> String {
        let file = outside.appending(path: drop.name)
        try drop.bytes.write(to: file)
        let output = try await run("submit", file.path, telling: .dropped(drop.name))
        guard let id = output.firstMatch(of: /\b01[0-9A-Z]{24}\b/) else { throw Failed(description: output) }
        return String(id.0)
    }

    // MARK: After recording

    /// Reads the log, and proves it complete: replayed with nothing lost, it gives the folder there is.
    func finish() throws {
        recording = try Recording(contentsOf: log)
        var replay = Disk(image, inodes: inodes, at: disk)
        for (id, operation) in recording.operations.enumerated() { try replay.replay(operation, id: id) }
        let real = try DiskImage.read(disk).0.listing, modelled = replay.seen.listing
        for path in Set(real.keys).union(modelled.keys).sorted() where real[path] != modelled[path] {
            throw Failed(
                description: "the recording is not complete: \(path) is "
                    + (modelled[path] == nil ? "missing in it" : real[path] == nil ? "gone" : "another"))
        }
        // Only now: whoever opens the queue makes files beside it.
        adapterDigest = try ArtifactStore(workspace.artifacts).list().first?.digest
        let queue = try JobQueue.openReadOnly(workspace.database)
        for job in try queue.list() {
            for stage in try queue.show(job.id).stages { outputDigests[stage.name] = stage.outputDigest }
        }
        try queue.close()
    }

    /// How many syncs of each site found nothing to make certain.
    func idleSyncs() throws -> [(SyncSite, Int)] {
        var replay = Disk(image, inodes: inodes, at: disk)
        for (id, operation) in recording.operations.enumerated() { try replay.replay(operation, id: id) }
        let sites = replay.idleSyncs.compactMap { SyncSite(recording.operations[$0], in: self) }
        return Dictionary(grouping: sites) { $0 }.map { ($0.key, $0.value.count) }.sorted { $0.0 < $1.0 }
    }

    /// Puts a state in the place of the disk.
    func materialise(_ image: DiskImage) throws {
        try Self.remove(disk.path)
        try image.write(to: disk)
    }

    private static func remove(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            if status.st_mode & S_IRWXU != S_IRWXU { chmod(path, 0o755) }
            for name in try FileManager.default.contentsOfDirectory(atPath: path) { try remove("\(path)/\(name)") }
            guard rmdir(path) == 0 else { throw Failed(description: "rmdir \(path): \(errno)") }
        } else {
            guard unlink(path) == 0 else { throw Failed(description: "unlink \(path): \(errno)") }
        }
    }
}
