/// What the control half must know of a kind of stage, as values only: enough to check a pipeline, to compute
/// a cache key and to start a process. The stages themselves live on a floor the control half cannot see; the
/// executable hands their descriptors down.
package struct StageDescriptor: Sendable, Equatable {
    /// What a stage reads besides the outputs of the stages it needs.
    package enum Input: String, Sendable, CaseIterable {
        /// The data files of the manifest.
        case data
        /// The weights and configuration of the base.
        case base
        /// The tokenizer files of the base.
        case tokenizer
        /// The data files of suites and of the general text beside them.
        case suites
    }

    /// The word after `uses:` in a pipeline.
    package var kind: String
    /// Raised when the stage's results change for equal inputs.
    package var version: Int
    /// Top-level or nested manifest keys that change the result, such as `data` or `train.seed`. A change of
    /// any other key leaves the stage cached.
    package var manifestKeys: [String]
    package var inputs: Set<Input>
    /// Kinds of stage that must be among the transitive needs of this one.
    package var requires: [String]
    /// Whether a cached output may stand in for a run. A stage that publishes is never run for nothing
    /// either: when all it needs was cached, so is it.
    package var isCacheable: Bool
    /// Whether it looks at published versions of the job's name beside what it was given. They do not change its result,
    /// only what is said beside it, and are no part of its key.
    package var comparesVersions: Bool

    /// Whether it may end before its work is done, with what it has, where a job's budget asks for it.
    package var endsEarly: Bool

    package init(
        kind: String, version: Int, manifestKeys: [String], inputs: Set<Input>, requires: [String],
        isCacheable: Bool = true, comparesVersions: Bool = false, endsEarly: Bool = false
    ) {
        self.kind = kind
        self.version = version
        self.manifestKeys = manifestKeys
        self.inputs = inputs
        self.requires = requires
        self.isCacheable = isCacheable
        self.comparesVersions = comparesVersions
        self.endsEarly = endsEarly
    }
}
