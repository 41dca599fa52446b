/// Everything a run must remember besides tensors. Order of data and dropout follow from seed and step.
struct TrainingState: Codable, Equatable {
    static let currentVersion = 1

    var version = currentVersion
    /// What the run is; a checkpoint continues only a run that says the same.
    var fingerprint: [String: String]
    /// Optimizer steps done.
    var step = 0
    /// Tokens seen.
    var tokens = 0
    var lastLoss: Double?
    /// Optimizer steps of each parameter that has had any.
    var optimizerSteps: [String: Int] = [:]
    var validations: [ValidationReport] = []
    /// The validation that the best weights belong to.
    var best: ValidationReport?
    /// Validations since then.
    var validationsWithoutImprovement = 0
    var hasStoppedEarly = false

    /// Checks that this state belongs to the run that `fingerprint` describes.
    ///
    /// - Parameter earlier: for a key, what it may have been before, beside what it is now.
    /// - Throws: ``TrainingError`` with code `checkpointMismatch` that names every difference.
    func check(_ fingerprint: [String: String], earlier: [String: [String]] = [:], path: String) throws {
        let keys = Set(fingerprint.keys).union(self.fingerprint.keys).sorted()
        let differences = keys.filter { key in
            let own = self.fingerprint[key]
            return fingerprint[key] != own && !(own.map { earlier[key]?.contains($0) ?? false } ?? false)
        }.map { key in
            "\(key) was \(self.fingerprint[key] ?? "absent") and is now \(fingerprint[key] ?? "absent")"
        }
        guard differences.isEmpty else {
            throw TrainingError(
                .checkpointMismatch,
                "\(path) belongs to another run: \(differences.joined(separator: "; ")). "
                    + "Start afresh, or restore what changed")
        }
    }
}
