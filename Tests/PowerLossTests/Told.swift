import Foundation

/// Something the programs have told a user, a producer or each other, and must therefore keep through any power loss.
enum Told: Codable, Hashable, Sendable {
    /// `init` returned.
    case initialised
    /// A producer synced a manifest, renamed it into the inbox, and synced the inbox; or `submit` returned.
    case dropped(String)
    /// A verb returned, or `status` showed it: the state of a job.
    case state(job: String, String, adapter: String?)
    /// `retry` returned the id of a new job.
    case retried(job: String, new: String)
    case prioritised(job: String, Int)
    case paused(queue: String)
    /// An alias was moved, or removed.
    case alias(String, String, version: Int?)
    /// A stage's process ended well: its work is not done again.
    case stageEnded(directory: String)
    /// The log says that a checkpoint was written: no more than what came after it is done again.
    case checkpoint(directory: String, step: Int)

    /// What an operation of a recording tells.
    static func told(by operation: Operation, seen: DiskImage, root: URL) -> Told? {
        switch operation.kind {
        case .mark:
            return try? JSONDecoder().decode(Told.self, from: Data(operation.text.utf8))
        case .exit:
            let words = operation.text.split(separator: "\n")
            guard words.count == 3, words[1] == "stage" else { return nil }
            let directory = words[2].hasSuffix("/") ? words[2].dropLast() : words[2]
            // Only a stage that says it is done has done anything that counts.
            guard let node = seen.node(at: directory.dropFirst(root.path.count) + "/result.json"),
                case .file(let result) = seen.nodes[node],
                String(decoding: result.bytes, as: UTF8.self).contains("\"exitCode\":0")
            else { return nil }
            return .stageEnded(directory: String(directory))
        case .write where operation.text.hasSuffix("/log.txt"):
            let text = String(decoding: operation.data, as: UTF8.self)
            guard let match = text.firstMatch(of: /checkpoint after step (\d+)/), let step = Int(match.1) else {
                return nil
            }
            return .checkpoint(directory: String(operation.text.dropLast("/log.txt".count)), step: step)
        default: return nil
        }
    }
}
