package import Foundation

/// The folder of one stage attempt: the whole protocol between a stage process and whoever started it.
///
/// The starter writes `request.json`; the process holds a lock on `worker.lock`, appends to `progress.jsonl`
/// and `log.txt`, keeps `checkpoint/` restorable at any moment, puts its product under `out/`, and writes
/// `result.json` (temporary file, fsync, rename) as its last act.
package struct RunDirectory: Sendable, Hashable {
    /// The folder itself, as an absolute path.
    package let url: URL

    package init(_ url: URL) { self.url = url }

    /// What the process is to do: a ``StageRequest``.
    package var request: URL { url.appending(path: "request.json") }
    /// One ``ProgressEvent`` a line.
    package var progress: URL { url.appending(path: "progress.jsonl") }
    /// Standard output and standard error of the process.
    package var log: URL { url.appending(path: "log.txt") }
    /// What a later attempt continues from.
    package var checkpoint: URL { url.appending(path: "checkpoint", directoryHint: .isDirectory) }
    /// What the stage made; frozen once ``result`` exists.
    package var out: URL { url.appending(path: "out", directoryHint: .isDirectory) }
    /// How the process ended: a ``StageResult``.
    package var result: URL { url.appending(path: "result.json") }
    /// Locked with `flock` by the process for as long as it lives.
    package var lock: URL { url.appending(path: "worker.lock") }
}
