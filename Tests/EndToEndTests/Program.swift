import Foundation
import PipelineSpec
import Testing

/// The built program, started as people start it.
struct Program {
    struct Outcome {
        var status: Int32
        var output: String
        /// Standard error.
        var talk: String

        /// The object that `--json` printed, and nothing beside it.
        func json() throws -> JSONValue {
            do {
                return try JSONDecoder().decode(JSONValue.self, from: Data(output.utf8))
            } catch {
                throw Unexpected(description: "not one JSON object: \(self)")
            }
        }
    }

    /// The program is not there, or said something else.
    struct Unexpected: Error, CustomStringConvertible {
        let description: String
    }

    let executable: URL
    /// Where the program is started.
    var folder: URL
    var environment: [String: String] = [:]

    /// - Throws: ``Unexpected`` when the program does not lie beside the tests.
    init(in folder: URL) throws {
        self.folder = folder
        let arguments = ProcessInfo.processInfo.arguments
        // The test bundle is the first argument or named by one; the programs lie in the same folder.
        let places = [Bundle.main.executableURL].compactMap { $0 } + arguments.map { URL(filePath: $0) }
        let candidates = places.map {
            $0.resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "lorajobs")
        }
        guard
            let found = candidates.first(where: {
                var isFolder: ObjCBool = false
                return FileManager.default.fileExists(atPath: $0.path, isDirectory: &isFolder) && !isFolder.boolValue
                    && FileManager.default.isExecutableFile(atPath: $0.path)
            })
        else {
            throw Unexpected(description: "there is no lorajobs beside the tests; looked at \(candidates.map(\.path))")
        }
        executable = found
    }

    /// Starts the program and waits for its end; after a minute it is killed, and the test fails.
    @discardableResult
    func run(_ arguments: String..., input: String = "") async throws -> Outcome {
        try await run(arguments, input: input)
    }

    func run(_ arguments: [String], input: String = "") async throws -> Outcome {
        let process = try start(arguments, input: input)
        return try await process.outcome()
    }

    /// Starts the program and does not wait.
    func start(_ arguments: [String], input: String = "") throws -> Running {
        try Running(executable, arguments, in: folder, environment: environment, input: input)
    }
}

/// A program that runs; it does not outlive this object.
final class Running: @unchecked Sendable {
    private let process = Process()
    private let scratch: URL
    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }

    init(_ executable: URL, _ arguments: [String], in folder: URL, environment: [String: String], input: String) throws
    {
        scratch = FileManager.default.temporaryDirectory.appending(path: "lorajobs-run-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
        for name in ["out", "err"] { try Data().write(to: scratch.appending(path: name)) }
        try Data(input.utf8).write(to: scratch.appending(path: "in"))
        process.executableURL = executable
        process.arguments = arguments
        process.currentDirectoryURL = folder
        // Neither what a caller has chosen for jobs of its own, nor which products its machine is to use.
        let others = ["LORAJOBS_", "OPENBLAS_", "DNNL_"]
        var all = ProcessInfo.processInfo.environment.filter { entry in !others.contains { entry.key.hasPrefix($0) } }
        all["HF_HUB_CACHE"] = scratch.appending(path: "no-cache").path
        process.environment = all.merging(environment) { $1 }
        let input = try FileHandle(forReadingFrom: scratch.appending(path: "in"))
        // Files, not pipes: nothing has to be drained while the program runs.
        let output = try FileHandle(forWritingTo: scratch.appending(path: "out"))
        let talk = try FileHandle(forWritingTo: scratch.appending(path: "err"))
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, talk)
        // Foundation keeps every process it has started, and their files with them.
        defer { for handle in [input, output, talk] { try? handle.close() } }
        for attempt in 1... {
            do {
                try process.run()
                return
            } catch let error as NSError where attempt < 100 && "\(error)".contains("Text file busy") {
                // Another test has started a process while this file was still being copied.
                usleep(50_000)
            }
        }
    }

    deinit {
        if process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
        try? FileManager.default.removeItem(at: scratch)
    }

    /// What it has printed until now.
    var output: String {
        String(
            decoding: FileManager.default.contents(atPath: scratch.appending(path: "out").path) ?? Data(), as: UTF8.self
        )
    }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Waits for the end, at most so many seconds.
    func outcome(within seconds: Double = 60) async throws -> Program.Outcome {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while process.isRunning {
            if ContinuousClock.now >= deadline {
                kill(process.processIdentifier, SIGKILL)
                Issue.record("\(process.arguments ?? []) did not end within \(seconds) s")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        func text(_ name: String) throws -> String {
            String(decoding: try Data(contentsOf: scratch.appending(path: name)), as: UTF8.self)
        }
        let isSignal = process.terminationReason == .uncaughtSignal
        return Program.Outcome(
            status: isSignal ? 128 + process.terminationStatus : process.terminationStatus, output: try text("out"),
            talk: try text("err"))
    }
}
