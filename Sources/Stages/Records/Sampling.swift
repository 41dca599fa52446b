import PipelineSpec

/// Which records of the training files a trial on a share of them leaves out.
///
/// A record's place is decided by its content, as its split is but independently of that: a file that grows keeps its sample, and
/// so does one that is sorted otherwise. Validation and test stay whole, so that trials are measured by what everything
/// else is measured by.
struct Sampling {
    /// 0…1.
    let share: Double
    let assignment: SplitAssignment

    /// - Returns: `nil` when all records take part.
    init?(_ data: JobManifest.Data, _ assignment: SplitAssignment) {
        guard let share = data.sample else { return nil }
        (self.share, self.assignment) = (share, assignment)
    }

    /// Whether a record of the training files with this hash is left out.
    func leavesOut(_ hash: UInt64) -> Bool {
        assignment.split(of: hash) == .train && Self.place(hash) >= share
    }

    /// 0..<1, evenly spread and unrelated to what decides about splits (the finaliser of SplitMix64).
    static func place(_ hash: UInt64) -> Double {
        var z = hash &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        z ^= z >> 31
        return Double(z >> 11) * 0x1p-53
    }
}
