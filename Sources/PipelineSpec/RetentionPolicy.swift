/// What `gc` keeps.
package struct RetentionPolicy: Sendable, Equatable {
    /// The newest versions of each adapter and model.
    package var keepLast = 30
    /// The newest version of each of so many days that have one, and of so many months; by UTC.
    package var keepDaily = 14
    package var keepMonthly = 12
    /// So many earlier values of each alias, so that it can be rolled back.
    package var aliasHistory = 10
    /// Cached outputs of stages: the least recently used go first. `nil` is without a limit.
    package var cacheBytes: Int? = 20 << 30
    /// How long checkpoints and outputs in the run folders of ended jobs stay.
    package var runSeconds = 14 * 86_400.0
    /// What was made or used so recently is never collected: its user may not have said so yet.
    package var graceSeconds = 86_400.0
    /// How long what was collected lies in `Artifacts/trash`.
    package var trashSeconds = 7 * 86_400.0
    package init() {}
}
