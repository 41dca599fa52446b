import PipelineSpec
import TestSupport
import Testing

/// One binary for every processor: whole jobs with each set of kernels that this one has.
@Suite(.timeLimit(.minutes(30))) struct ProcessorTests {
    /// From what every processor has upwards; what this one lacks is replaced by the next below.
    private static let variants = ["plain", "avx2", "avx512"]
    /// What OpenBLAS is held to.
    private static let cores = ["plain": "Nehalem", "avx2": "Haswell"]

    @Test(arguments: ["fp32", "bf16"]) func everySetOfKernelsTrainsTheSame(precision: String) async throws {
        var losses: [String: [Double]] = [:]
        for variant in Self.variants {
            // A workspace for each: what another has computed would be taken over.
            guard let shop = try await Workshop.make() else { return }
            var program = shop.program
            program.environment["LORAJOBS_CPU"] = variant
            let manifest = shop.manifest(steps: 12).replacing("steps:", with: "precision: \(precision)\n  steps:")
            try shop.write(manifest, to: "tone.yaml")
            let run = try await program.run("run", "tone.yaml")
            #expect(run.status == 0, "\(variant): \(run)")
            let record = try shop.json("Artifacts/adapters/tone/1/lorajobs.json")
            let engine = record["lineage"]?["engine"]?.word ?? ""
            let used = Self.variants.filter {
                engine.hasPrefix("kernels \($0),") || engine.hasPrefix("kernels \($0) bf16,")
            }
            #expect(
                used.count == 1
                    && Self.variants.firstIndex(of: used[0]) ?? 9 <= Self.variants.firstIndex(of: variant) ?? 0
                    && (variant != "plain" || used[0] == "plain"), "\(engine)")
            // OpenBLAS follows, or half of the products would still need what the processor lacks.
            if let used = used.first, let core = Self.cores[used] { #expect(engine.hasSuffix(" \(core)"), "\(engine)") }
            let values = record["evaluation"]?["sets"]?.elements.first?["values"]
            losses[variant] = ["base", "trained"].map { values?[$0]?["loss"]?.double ?? .nan }
        }
        let plain = try #require(losses["plain"])
        #expect(plain[1] < 0.8 * plain[0], "\(losses)")
        for (variant, others) in losses {
            // Sums in another order; in bf16 they may round to the other neighbour.
            let bound = precision == "fp32" ? 1e-4 : 3e-3
            for (one, other) in zip(plain, others) {
                #expect(abs(other / one - 1) < bound, "\(variant): \(losses)")
            }
        }
    }
}
