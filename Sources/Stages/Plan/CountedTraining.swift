import Foundation
import Models
import PipelineSpec

/// The operations of a whole training, from `config.json`, the manifest and the size of its files alone.
package struct CountedTraining: Sendable, Equatable {
    package let operations: Double
    package let operationsPerToken: Double
    /// Bits of the number format of the large matrices.
    package let precisionBits: Int

    /// Bytes of text that are about a token.
    private static let bytesPerToken = 4.0

    init?(of manifest: JobManifest) throws {
        let memory = try MemoryEstimate(of: manifest)
        let configuration = try ModelConfiguration(
            folder: URL(filePath: manifest.base.path, directoryHint: .isDirectory))
        // Of images the files say nothing: they are packed.
        guard try ModelRegistry.limits(configuration).images == nil, let tokens = Self.tokens(manifest) else {
            return nil
        }
        let outline = try ModelRegistry.outline(configuration)
        let counted = TrainingOperations(
            outline, trainedParameters: memory.trainedParameters, trainsAll: manifest.adapter.method == .full,
            trainedShare: 1, sequence: memory.longestSequence)
        operationsPerToken = counted.perToken
        operations = tokens * counted.perToken
        precisionBits = manifest.trainingPrecision.bits
    }

    /// Tokens of all steps; `nil` when the manifest counts in examples.
    private static func tokens(_ manifest: JobManifest) -> Double? {
        switch manifest.train.duration {
        case .steps(let steps):
            return manifest.train.batchSize == nil ? Double(steps) * Double(manifest.train.batchTokens) : nil
        case .epochs(let epochs):
            // What a pattern matches now; the job pins it when it starts.
            guard let files = try? DataFiles(of: manifest, roots: PathRoots(["/"])) else { return nil }
            let bytes = files.train.reduce(0.0) { sum, path in
                let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int64
                return sum + Double(size ?? 0)
            }
            var share = 1.0
            if case .fraction(let part) = manifest.data.validation { share -= part }
            if case .fraction(let part) = manifest.data.test { share -= part }
            return epochs * bytes * max(0, share) * (manifest.data.sample ?? 1) / bytesPerToken
        }
    }
}
