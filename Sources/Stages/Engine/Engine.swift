import TensorCore

/// The engine for callers that are no stage: its threads and its errors.
package enum Engine {
    /// Sets how many threads compute in this process; at its start, before anything is loaded.
    package static func setThreads(_ count: Int) { Parallel.threadCount = count }

    /// Runs `body` and turns an error of any floor of the compute half into a ``StageError``.
    package static func run<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch {
            throw StageError(classifying: error)
        }
    }
}
