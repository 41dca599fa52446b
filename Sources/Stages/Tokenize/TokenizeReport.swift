import Foundation
import PipelineSpec

extension TokenizeStage {
    /// What `report.json` says: what was read, what became of it, and what a run will learn.
    struct Report: Codable {
        struct Split: Codable {
            var sequences = 0
            var tokens = 0
            /// Tokens that are predicted and scored.
            var targets = 0
        }

        var reading = RecordReading()
        /// Records that became sequences, those that were cut among them.
        var kept = 0
        /// Records that became none.
        var dropped = 0
        var truncated = 0
        /// Training records that are not in the sample; `nil` without one.
        var leftOut: Int?
        /// How many records were dropped or cut, by reason: `overlength`, `nothing_to_learn`, `truncated`, `bad`.
        var reasons: [String: Int] = [:]
        /// Lengths of the sequences before anything was cut or dropped.
        var lengths = LengthHistogram()
        var maxLength = 0
        var longest = 0
        var splits: [String: Split] = [:]
        /// The share of the training tokens that are learned.
        var trainedShare = 0.0
        /// Records of each split that repeat another of it, but for case, white space and punctuation.
        var duplicates: [String: Int] = [:]
        /// Records of validation and test that are also trained on.
        var overlap: [String: Int] = [:]
        /// One record in so many was compared for the two numbers above.
        var comparedOneIn = 1
        /// `nil` in what an earlier version wrote.
        var health: DataHealth?
        /// Tokens of the training split: what an epoch reads.
        var tokensPerEpoch = 0
        /// What is learned.
        var task = JobManifest.Task.causalLM
        /// The classes that a head chooses between, by index; `nil` for a task without.
        var classes: [String]?
        /// The id that stands for a hidden token, where those are to be found.
        var maskID: Int32?
        /// What an image is to the model, in tokens; `nil` for text.
        var imageRows: Int?
        /// The first training examples.
        var examples: [DecodedExample] = []

        /// Counts what became of a record.
        mutating func count(_ encoded: EncodedRecord) {
            switch encoded.outcome {
            case .kept: kept += 1
            case .truncated:
                kept += 1
                truncated += 1
                reasons["truncated", default: 0] += 1
            case .overlength: drop("overlength")
            case .nothingToLearn: drop("nothing_to_learn")
            case .bad: reasons["bad", default: 0] += 1
            }
            if case .kept = encoded.outcome {
                for example in encoded.examples { lengths.add(length(example)) }
            } else if encoded.length > 0 {
                lengths.add(imageRows ?? encoded.length)
            }
        }

        private mutating func drop(_ reason: String) {
            dropped += 1
            reasons[reason, default: 0] += 1
        }

        /// Counts a sequence.
        mutating func count(_ example: EncodedExample, in split: SplitName) {
            splits[split.rawValue, default: .init()].sequences += 1
            splits[split.rawValue, default: .init()].tokens += length(example)
            splits[split.rawValue, default: .init()].targets += example.targetCount
            longest = max(longest, length(example))
        }

        /// The tokens of a sequence, as the model counts.
        private func length(_ example: EncodedExample) -> Int { imageRows ?? example.ids.count }
    }
}
