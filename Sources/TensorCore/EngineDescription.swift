import CKernels
import COpenBLAS

/// What computes in this process, in a line: recorded with everything it makes.
package enum EngineDescription {
    /// Such as `kernels avx512 bf16, OpenBLAS 0.3.21 SkylakeX`; the second word where the processor multiplies bf16 itself.
    ///
    /// Equal lines, with equal inputs, seed and threads, give equal tensor bytes.
    package static var text: String {
        let configuration = String(cString: openblas_get_config()).split(separator: " ").prefix(2).joined(
            separator: " ")
        let core = String(cString: openblas_get_corename())
        let kernels = String(cString: ck_kernels().pointee.name) + (multipliesBF16 ? " bf16" : "")
        return "kernels \(kernels), \(configuration) \(core)"
    }

    /// Whether this processor multiplies bf16, and `LORAJOBS_CPU` lets it. Elsewhere such products give the same numbers, but
    /// for the order of sums, far more slowly than in single precision.
    package static var multipliesBF16: Bool { ck_multiplies_bf16() != 0 }

    /// The value of `OPENBLAS_CORETYPE` that makes products fastest on this processor; `nil` where OpenBLAS chooses well.
    package static var fastestBLASCore: String? { ck_openblas_coretype().map { String(cString: $0) } }
}
