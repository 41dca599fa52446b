import Glibc
package import PipelineSpec
import TensorCore

/// The engine for callers that are no stage: its threads and its errors.
package enum Engine {
    /// Which kernels and which BLAS this processor gets, in a line.
    package static var description: String { EngineDescription.text }

    /// Sets how many threads compute in this process; at its start, before anything is loaded.
    package static func setThreads(_ count: Int) { Parallel.threadCount = count }

    /// Starts this program over with the BLAS kernels that are fastest on this processor, unless that has been done or
    /// `OPENBLAS_CORETYPE` is set. OpenBLAS reads the variable before `main`, hence the second start; it takes some
    /// milliseconds and keeps the process id. To be called first of all, by programs only.
    package static func useFastestKernels() {
        guard getenv("OPENBLAS_CORETYPE") == nil, let core = EngineDescription.fastestBLASCore else { return }
        setenv("OPENBLAS_CORETYPE", core, 1)
        var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
        execv("/proc/self/exe", &arguments)
        // Without /proc the default kernels compute as well, only slower.
        for argument in arguments { free(argument) }
    }

    /// Runs `body` and turns an error of any floor of the compute half into a ``StageError``.
    package static func run<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch {
            throw StageError(classifying: error)
        }
    }

    /// Makes OpenBLAS take the buffers of its products while there is memory.
    ///
    /// Refused one later, it would ask again for ever instead of failing; a few milliseconds.
    static func reserveProductBuffers() {
        let square = Tensor(zeros: [512, 512])
        _ = square.linear(square)
    }
}

extension Engine {
    /// The most memory that a job's stages will use, in bytes.
    ///
    /// Reads `config.json` and nothing of the weights.
    ///
    /// - Throws: ``StageError`` for a base that cannot be trained as the manifest says.
    package static func estimatedPeakBytes(of manifest: JobManifest) throws -> Int64 {
        try run { try MemoryEstimate(of: manifest).peak }
    }

    /// What the training of a manifest computes, as far as that is known before its data are read: of text, a token is taken
    /// for four bytes of it.
    ///
    /// - Returns: `nil` for a manifest that cannot be trained, and where the size of the files says too little.
    package static func countedWork(of manifest: JobManifest) -> CountedTraining? {
        try? CountedTraining(of: manifest)
    }

    /// What to change in a manifest so that its stages use at most `limit` bytes, with what they then use; `nil` for a
    /// manifest that cannot be trained.
    package static func changeThatFits(_ limit: Int64, in manifest: JobManifest) -> String? {
        try? MemoryEstimate.changeThatFits(limit, in: manifest)
    }
}
