import Artifacts
import Foundation
package import PipelineSpec
import Subprocess
import SystemPackage

/// Takes one notice to one target.
///
/// Requests are made by `curl`, a process for each, whose address, headers and body come over its standard input: in no
/// list of processes is a secret seen, and whatever a server does happens outside of the daemon.
package struct NoticeSender: Sendable {
    /// What came of a try.
    package struct Answer: Sendable, Equatable {
        package var isDelivered: Bool
        /// For people; it holds no secret.
        package var text: String
    }

    /// The environment that secrets and proxies are looked up in.
    var environment = ProcessInfo.processInfo.environment
    /// The program that makes requests: a path, or a name to look for on `PATH`.
    var curl = "curl"

    package init() {}

    /// Tells a target that a test is all there is.
    package func test(_ name: String, _ target: NoticeTarget, in workspace: Workspace) async -> Answer {
        let (id, json) = NoticeDocument.test(name, place: workspace.root.lastPathComponent)
        return await send(json.text(), id: id, event: "test", at: Date(), to: target)
    }

    func send(_ body: String, id: String, event: String, at: Date, to target: NoticeTarget) async -> Answer {
        do {
            switch target.place {
            case .folder(let path): return try write(body, id: id, at: at, to: path)
            case .webhook(let address):
                return try await post(body, id: id, event: event, to: try resolve(address), target)
            }
        } catch let error as NoticeProblem {
            return Answer(isDelivered: false, text: error.text)
        } catch {
            return Answer(isDelivered: false, text: "\(error)")
        }
    }

    // MARK: Folder

    /// The name follows from the notice: sent again, it takes its own place.
    private func write(_ body: String, id: String, at: Date, to folder: String) throws -> Answer {
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw NoticeProblem("cannot make the folder \(folder): \(error.localizedDescription)")
        }
        let stamp = at.ISO8601Format().replacing(":", with: "-")
        let safe = String(id.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_.".contains($0)) ? $0 : "-" })
        let name = "\(stamp)__\(safe.prefix(150)).json"
        try AtomicFile.write(
            Data((body + "\n").utf8), to: URL(filePath: folder, directoryHint: .isDirectory).appending(path: name),
            permissions: 0o666)
        return Answer(isDelivered: true, text: "wrote \(name)")
    }

    // MARK: Webhook

    private func post(
        _ body: String, id: String, event: String, to address: String, _ target: NoticeTarget
    ) async throws -> Answer {
        var headers = [
            "Content-Type: application/json", "User-Agent: lorajobs", "X-Lorajobs-Event: \(event)",
            "X-Lorajobs-Delivery: \(id)", "Expect:",
        ]
        var secrets = [address]
        if let token = try target.token.map(read) {
            secrets.append(token)
            headers.append("Authorization: Bearer \(token)")
        }
        if let key = try target.signingKey.map(read) {
            secrets.append(key)
            let code = Digest.authenticationCode(of: Data(body.utf8), key: Data(key.utf8))
            headers.append("X-Lorajobs-Signature-256: sha256=\(code)")
        }
        let seconds = target.timeoutSeconds
        let lines =
            ["url = \(Self.quoted(address))", "request = \"POST\""] + headers.map { "header = \(Self.quoted($0))" }
            + ["data-raw = \(Self.quoted(body))"]
        // No file of settings, no other protocol, no way on to another address, and an end to all patience.
        let arguments = [
            "-q", "--silent", "--show-error", "--globoff", "--proto", "=http,https", "--max-redirs", "0",
            "--connect-timeout", "\(min(seconds, 5))", "--max-time", "\(seconds)", "--output", "/dev/null",
            "--write-out", "%{http_code}", "--config", "-",
        ]
        var platform = PlatformOptions()
        platform.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .milliseconds(300))]
        let passed = environment.filter { Self.passed.contains($0.key.lowercased()) }
        let variables = Environment.custom(
            Dictionary(uniqueKeysWithValues: passed.map { (Environment.Key(stringLiteral: $0.key), $0.value) }))
        let output: String
        let problem: String
        let isDone: Bool
        do {
            let result = try await Subprocess.run(
                curl.contains("/") ? .path(FilePath(curl)) : .name(curl), arguments: Arguments(arguments),
                environment: variables, platformOptions: platform,
                input: .string(lines.joined(separator: "\n") + "\n"), output: .string(limit: 64),
                error: .string(limit: 4096))
            output = result.standardOutput
            problem = result.standardError
            isDone = result.terminationStatus.isSuccess
        } catch let error as SubprocessError where error.code == .executableNotFound {
            throw NoticeProblem("there is no curl on PATH, which webhooks need: apt-get install curl")
        }
        let status = Int(output.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
        guard isDone else {
            var text = problem.trimmingCharacters(in: .whitespacesAndNewlines)
            for secret in secrets where !secret.isEmpty { text = text.replacing(secret, with: "…") }
            return Answer(isDelivered: false, text: text.isEmpty ? "curl was ended" : text)
        }
        let isGood = (200..<300).contains(status)
        return Answer(
            isDelivered: isGood,
            text: "HTTP \(status)" + ((300..<400).contains(status) ? "; it is not followed to another address" : ""))
    }

    /// What curl may know of the daemon's environment.
    private static let passed: Set<String> = [
        "path", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir",
        "curl_ca_bundle",
    ]

    /// A value as curl's configuration quotes it.
    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for character in text.unicodeScalars {
            switch character {
            case "\\", "\"": quoted += "\\\(character)"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            default: quoted.unicodeScalars.append(character)
            }
        }
        return quoted + "\""
    }

    // MARK: Secrets

    private func resolve(_ address: NoticeTarget.Address) throws -> String {
        switch address {
        case .text(let text): return text
        case .secret(let secret):
            let text = try read(secret)
            if let problem = NoticeTarget.problem(withAddress: text) { throw NoticeProblem(problem) }
            return text
        }
    }

    private func read(_ secret: NoticeTarget.Secret) throws -> String {
        let (text, place): (String, String)
        switch secret {
        case .variable(let name):
            guard let value = environment[name] else {
                throw NoticeProblem("the daemon's environment has no \(name)")
            }
            (text, place) = (value, "the variable \(name)")
        case .file(let path):
            guard let handle = FileHandle(forReadingAtPath: path) else {
                throw NoticeProblem("cannot read \(path), which should hold a secret")
            }
            defer { try? handle.close() }
            let data = try handle.read(upToCount: 1 << 16) ?? Data()
            (text, place) = (String(decoding: data, as: UTF8.self), path)
        }
        let line = text.split(separator: "\n").first?.trimmingCharacters(in: .whitespaces) ?? ""
        let isPlain = line.unicodeScalars.allSatisfy { (0x20...0x7E).contains($0.value) }
        guard !line.isEmpty, isPlain else { throw NoticeProblem("\(place) holds no line of printable ASCII") }
        return line
    }
}

/// Why a try was not even made; the text holds no secret.
private struct NoticeProblem: Error {
    let text: String
    init(_ text: String) { self.text = text }
}
