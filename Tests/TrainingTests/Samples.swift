import Foundation
import TensorCore
import TestSupport

@testable import Training

/// Random sequences as a dataset in a folder that lives as long as this object.
final class Samples {
    let folder: TemporaryFolder
    let sequences: [[Int32]]
    let scored: [[Bool]]?
    let dataset: TokenDataset

    var url: URL { folder.url.appending(path: "samples.tokens") }

    init(_ sequences: [[Int32]], scored: [[Bool]]? = nil) throws {
        folder = try TemporaryFolder()
        self.sequences = sequences
        self.scored = scored
        let url = folder.url.appending(path: "samples.tokens")
        let writer = try TokenDatasetWriter(url)
        for (index, ids) in sequences.enumerated() { try writer.append(ids, scored: scored?[index]) }
        dataset = try writer.finish()
    }

    /// `count` sequences of 2 to `longest` ids below `vocabulary`, in which ids tend to follow their predecessor.
    convenience init(
        count: Int, vocabulary: Int = 17, longest: Int = 12, masked: Bool = false, seed: UInt64 = 1
    ) throws {
        let random = RandomStream(seed: seed)
        let sequences = (0..<count).map { index -> [Int32] in
            let stream = random.substream(index)
            let length = 2 + Int(stream.bits(at: 0) % UInt64(longest - 1))
            var id = Int32(stream.bits(at: 1) % UInt64(vocabulary))
            return (0..<length).map { position in
                if stream.bits(at: 2 + position) % 4 == 0 {
                    id = Int32(stream.bits(at: 100 + position) % UInt64(vocabulary))
                }
                id = (id + 1) % Int32(vocabulary)
                return id
            }
        }
        let scored = sequences.enumerated().map { index, ids in
            ids.indices.map { random.substream(index).bits(at: 500 + $0) % 3 != 0 }
        }
        try self.init(sequences, scored: masked ? scored : nil)
    }
}
