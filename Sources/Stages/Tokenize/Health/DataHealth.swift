import Foundation
import PipelineSpec

/// What is known of a job's data before anything is learned from them. It depends on the data alone.
package struct DataHealth: Codable, Sendable, Equatable {
    /// Of some records, how many were judged and how many were found.
    package struct Tally: Codable, Sendable, Equatable {
        package var judged = 0
        package var found = 0
        /// What was found of what was judged.
        package var share: Double { judged == 0 ? 0 : Double(found) / Double(judged) }
    }

    /// The share of the training records that repeat an earlier one but for case, white space and punctuation.
    package var duplicates = 0.0
    /// The share of the training records that have most of their passages in earlier ones, those that repeat one included.
    package var nearDuplicates = Tally()
    /// Of validation and test, the share of the records that are trained on too, or have half of their passages there.
    package var overlap: [String: Double] = [:]
    /// What a passage is, and that one in so many was compared.
    package var passages = TextWords.gramWords
    package var passagesComparedOneIn = 1
    package var personal = PersonalData()
    /// How often each class is named in the training records.
    package var labels: [String: Int] = [:]
    /// Tokens of a training sequence, on average.
    package var meanLength = 0.0
    /// By the keys of `data.health`, the first record that a figure counts: file and line.
    package var first: [String: String] = [:]

    /// At most so many classes are counted one by one; a head with more is not compared by them.
    static let mostLabels = 10_000
}

/// Gathers ``DataHealth`` from records in their order.
struct HealthSurvey {
    private var files: [String] = []
    private var hashes = RecordHashes()
    private var sketch = GramSketch()
    private var personal = PersonalData()
    private var firstPersonal: UInt64?
    private var labels: [String: Int] = [:]
    private var records: [SplitName: Int] = [:]

    /// The records that follow are of this file.
    mutating func begin(_ file: PinnedFile) { files.append(file.path) }

    mutating func insert(_ features: RecordFeatures, line: Int, in split: SplitName) {
        let place = UInt64(max(files.count - 1, 0)) << 40 | UInt64(line)
        records[split, default: 0] += 1
        hashes.insert(features.hash, at: place, in: split)
        sketch.insert(features.grams, at: place, in: split)
        if features.personal.total > 0 {
            personal += features.personal
            if firstPersonal == nil { firstPersonal = place }
        }
        guard split == .train else { return }
        for label in features.labels where labels[label] != nil || labels.count < DataHealth.mostLabels {
            labels[label, default: 0] += 1
        }
    }

    /// Puts what was found into a report whose splits are counted.
    mutating func finish(_ report: inout TokenizeStage.Report) {
        let repeats = hashes.summary()
        (report.duplicates, report.overlap) = (repeats.duplicates, repeats.overlap)
        report.comparedOneIn = hashes.sampledOneIn
        var health = DataHealth()
        func share(_ count: Int, of split: SplitName) -> Double {
            min(1, Double(count) / Double(max(records[split] ?? 0, 1)))
        }
        health.duplicates = share(repeats.duplicates[SplitName.train.rawValue] ?? 0, of: .train)
        health.first["max_duplicates"] = repeats.firstDuplicate.map(place)
        health.nearDuplicates = sketch.near
        health.first["max_near_duplicates"] = sketch.firstNear.map(place)
        let overlaps = sketch.overlaps()
        var firstOverlaps: [UInt64] = []
        for split in records.keys where split != .train {
            let exact = share(repeats.overlap[split.rawValue] ?? 0, of: split)
            health.overlap[split.rawValue] = max(exact, overlaps[split]?.tally.share ?? 0)
            firstOverlaps += [repeats.firstOverlap[split], overlaps[split]?.first].compactMap { $0 }
        }
        health.first["max_overlap"] = firstOverlaps.min().map(place)
        health.passagesComparedOneIn = sketch.sampledOneIn
        health.personal = personal
        health.first["max_personal"] = firstPersonal.map(place)
        health.labels = labels
        if let train = report.splits[SplitName.train.rawValue], train.sequences > 0 {
            health.meanLength = Double(train.tokens) / Double(train.sequences)
        }
        report.health = health
    }

    private func place(_ packed: UInt64) -> String {
        let file = Int(packed >> 40)
        return "\(file < files.count ? files[file] : ""):\(packed & (1 << 40 - 1))"
    }
}
