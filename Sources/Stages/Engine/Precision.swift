package import PipelineSpec
import TensorCore

extension JobManifest.Precision {
    /// What this precision means on this processor: `auto` takes bf16 where it is multiplied as fast as it is stored.
    package var resolved: JobManifest.Precision {
        self == .auto ? (EngineDescription.multipliesBF16 ? .bf16 : .fp32) : self
    }

    /// The type of frozen matrices in memory.
    var matrixType: DType { resolved == .bf16 ? .bfloat16 : .float32 }
}

extension JobManifest {
    /// The precision of this job's training on this processor. Full training keeps its weights in single precision, since
    /// its steps are smaller than what bf16 can tell apart, and so do weights that are drawn, not read.
    var trainingPrecision: Precision {
        if case .random = base { return .fp32 }
        return adapter.method == .full ? .fp32 : train.precision.resolved
    }
}
