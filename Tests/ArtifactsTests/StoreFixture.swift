import Foundation
import TestSupport

@testable import Artifacts

/// A store in a folder of its own, and folders to publish into it.
final class StoreFixture: Sendable {
    let folder: TemporaryFolder
    let store: ArtifactStore

    init() throws {
        folder = try TemporaryFolder()
        store = ArtifactStore(folder.url.appending(path: "Artifacts"))
    }

    // Sealed folders cannot be removed by an ordinary user without this.
    deinit { try? FileTree.remove(folder.url) }

    static let day = Date(timeIntervalSince1970: 1_795_226_400)

    /// A folder as a package stage leaves it, with weights of its own.
    static func adapter(in parent: URL, weights: String) throws -> URL {
        let url = parent.appending(path: "out-\(UUID().uuidString)/adapter")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        try Data(weights.utf8).write(to: url.appending(path: "adapter_model.safetensors"))
        try Data(#"{"peft_type": "LORA", "r": 8}"#.utf8).write(to: url.appending(path: "adapter_config.json"))
        try Data(#"{"seed": 9223372036854775807, "metrics": {"loss": 1.25}, "name": "x"}"#.utf8)
            .write(to: url.appending(path: "lorajobs.json"))
        return url
    }

    func adapter(_ weights: String) throws -> URL { try Self.adapter(in: folder.url, weights: weights) }

    @discardableResult
    func publish(_ name: String, _ weights: String, attempt: String? = nil) throws -> Version {
        try store.publish(
            folder: adapter(weights), in: .adapters, name: name, attemptID: attempt ?? UUID().uuidString,
            now: Self.day)
    }

    /// Replaces the content of a sealed file in place, as a failing disk would.
    static func overwrite(_ file: URL, _ change: (inout Data) -> Void) throws {
        try FileTree.setMode(0o644, file)
        var data = try Data(contentsOf: file)
        change(&data)
        let handle = try FileHandle(forWritingTo: file)
        try handle.truncate(atOffset: 0)
        try handle.write(contentsOf: data)
        try handle.close()
    }

    static func mode(_ url: URL) throws -> mode_t? { try FileTree.status(url).map { $0.st_mode & 0o777 } }
}

func code(_ body: () throws -> Void) -> ArtifactError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? ArtifactError)?.code
    }
}
