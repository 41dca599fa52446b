import Foundation
import Layers
import TestSupport
import Testing

@testable import Training

@Suite struct TokenDatasetTests {
    @Test(arguments: [false, true]) func readsWhatWasWritten(masked: Bool) throws {
        let samples = try Samples(count: 200, masked: masked)
        let dataset = samples.dataset
        try dataset.verify()
        #expect(dataset.count == 200)
        #expect(dataset.tokenCount == samples.sequences.reduce(0) { $0 + $1.count })
        #expect(dataset.longest == samples.sequences.map(\.count).max())
        #expect(dataset.vocabularySize == Int(samples.sequences.joined().max()!) + 1)
        var targets = 0
        for (index, ids) in samples.sequences.enumerated() {
            let sequence = dataset[index]
            #expect(Array(sequence.ids) == ids && dataset.length(index) == ids.count)
            let expected = ids.indices.map { $0 > 0 && (samples.scored?[index][$0] ?? true) }
            #expect(ids.indices.map(sequence.isScored) == expected)
            #expect(sequence.targetCount == expected.count { $0 })
            targets += sequence.targetCount
        }
        #expect(dataset.targetCount == targets)
    }

    @Test func equalSequencesGiveEqualBytesAndAMaskOnlyWhereItIsNeeded() throws {
        let plain = try Samples(count: 30), again = try Samples(count: 30)
        #expect(try Data(contentsOf: plain.url) == Data(contentsOf: again.url))
        // A mask in which only first tokens do not count says nothing.
        let full = try Samples(plain.sequences, scored: plain.sequences.map { $0.indices.map { $0 > 0 } })
        #expect(try Data(contentsOf: full.url) == Data(contentsOf: plain.url))
        #expect(full.dataset.identity == plain.dataset.identity)
        #expect(try Samples(count: 30, masked: true).dataset.identity != plain.dataset.identity)
        #expect(try FileManager.default.contentsOfDirectory(atPath: plain.folder.url.path) == ["samples.tokens"])
    }

    @Test func aBatchOfADatasetIsABatchOfItsSequences() throws {
        let samples = try Samples(count: 20, masked: true)
        let order = [3, 17, 0]
        let batch = TokenBatch(samples.dataset, order)
        let expected = TokenBatch(order.map { samples.sequences[$0] }, scored: order.map { samples.scored![$0] })
        #expect(batch.ids == expected.ids && batch.positions == expected.positions)
        #expect(batch.targets == expected.targets && batch.sequences == expected.sequences)
    }

    @Test(
        arguments: [
            [nil, .class(2), .class(0), nil], [.values([0.5, -1]), nil, .values([0, 3]), .values([1, 1])],
            [nil, nil, .tokens([1, -1, 0]), .tokens([-1, -1, 4])],
        ] as [[SequenceLabel?]])
    func labelsAndTypesComeBack(labels: [SequenceLabel?]) throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "a.tokens")
        let writer = try TokenDatasetWriter(url)
        let types: [[UInt8]?] = [nil, [0, 0, 1], nil, [0, 1, 1]]
        for (label, types) in zip(labels, types) {
            try writer.append([1, 2, 3], scored: [false, false, false], label: label, types: types)
        }
        let dataset = try writer.finish()
        try dataset.verify()
        #expect(dataset.hasLabels)
        for index in 0..<4 {
            #expect(dataset.label(index) == labels[index] && dataset[index].label == labels[index])
            #expect(dataset.tokenTypes(index) == types[index] ?? [0, 0, 0])
            #expect(dataset[index].targetCount == labels[index]?.targetCount ?? 0)
        }
        #expect(dataset.targetCount == labels.reduce(0) { $0 + ($1?.targetCount ?? 0) })
        let bytes = try Data(contentsOf: url)
        for byte in stride(from: 64, to: bytes.count, by: 1) {
            var damaged = bytes
            damaged[byte] ^= 0x10
            try damaged.write(to: url)
            #expect(throws: TrainingError.self, "byte \(byte)") { try TokenDataset(url).verify() }
        }
    }

    @Test func labelsAreOfOneKindAndSize() throws {
        let folder = try TemporaryFolder()
        func refused(_ first: SequenceLabel, _ second: SequenceLabel) throws -> Bool {
            let writer = try TokenDatasetWriter(folder.url.appending(path: "a.tokens"))
            try writer.append([1, 2], label: first)
            do {
                try writer.append([1, 2], label: second)
                return false
            } catch let error as TrainingError {
                return error.code == .invalidInput
            }
        }
        #expect(try refused(.class(1), .values([1])) && refused(.values([1]), .values([1, 2])))
        #expect(try refused(.tokens([1, 2]), .tokens([1])) && refused(.tokens([1, 2]), .class(1)))
        #expect(try !refused(.tokens([1, 2]), .tokens([3, 4])))
        #expect(try refused(.class(1), .values([])))
    }

    @Test func tokensThatCountGoBeforeLabels() throws {
        let samples = try TemporaryFolder()
        let writer = try TokenDatasetWriter(samples.url.appending(path: "a.tokens"))
        try writer.append([1, 2, 3], label: .class(1))
        try writer.append([1, 2, 3], scored: [false, false, false], label: .class(0))
        try writer.append([1, 2, 3], scored: [false, false, false])
        let dataset = try writer.finish()
        #expect((0..<3).map { dataset[$0].targetCount } == [2, 1, 0] && dataset.targetCount == 3)
    }

    @Test func emptyDatasetsAreDatasets() throws {
        let empty = try Samples([])
        #expect(empty.dataset.count == 0 && empty.dataset.tokenCount == 0)
        try empty.dataset.verify()
    }

    @Test func anythingCutOffIsTruncatedAndNamesTheFile() throws {
        let samples = try Samples(count: 5, masked: true)
        let whole = try Data(contentsOf: samples.url)
        let file = samples.folder.url.appending(path: "cut.tokens")
        for length in [0, 3, 8, 63, 64, 70, whole.count - 1] {
            try whole.prefix(length).write(to: file)
            let error = try #require(throws: TrainingError.self) { try TokenDataset(file) }
            #expect(error.code == (length < 8 ? .malformed : .truncated), "\(length) bytes")
            #expect(error.description.contains("cut.tokens"))
        }
    }

    @Test func damageIsFound() throws {
        let samples = try Samples(count: 5)
        let whole = try Data(contentsOf: samples.url)
        let file = samples.folder.url.appending(path: "bad.tokens")
        func code(_ change: (inout Data) -> Void) throws -> TrainingError.Code? {
            var data = whole
            change(&data)
            try data.write(to: file)
            do { try TokenDataset(file).verify() } catch let error as TrainingError { return error.code }
            return nil
        }
        #expect(try code { _ in } == nil)
        #expect(try code { $0[0] ^= 1 } == .malformed)
        #expect(try code { $0[8] = 9 } == .unsupported)
        #expect(try code { $0[12] |= 64 } == .unsupported)
        #expect(try code { $0[12] |= 4 } == .malformed, "labels of no entries")
        #expect(try code { $0[12] |= 2 | 8 } == .unsupported, "labels of two kinds")
        #expect(try code { $0.append(0) } == .malformed)
        #expect(try code { $0[31] = 0xFF } == .malformed, "a count that would overflow")
        #expect(try code { $0[70] ^= 1 } == .malformed, "an id, found by the checksum")
        #expect(
            try code { $0[$0.count - 3] ^= 0x40 } == .malformed, "the table of sequences, found without the checksum")
        for byte in stride(from: 64, to: whole.count, by: 1) {
            #expect(try code { $0[byte] ^= 0x10 } != nil, "byte \(byte)")
        }
    }

    @Test func aWriterRefusesWhatNoTrainingCanUse() throws {
        let folder = try TemporaryFolder()
        let writer = try TokenDatasetWriter(folder.url.appending(path: "a.tokens"))
        for (ids, mask) in [([], nil), ([1, -2], nil), ([1, 2], [true])] as [([Int32], [Bool]?)] {
            let error = try #require(throws: TrainingError.self) { try writer.append(ids, scored: mask) }
            #expect(error.code == .invalidInput)
        }
        try writer.append([1, 2, 3])
        #expect(try writer.finish().count == 1)
    }

    @Test func anUnfinishedFileNeverHasItsName() throws {
        let folder = try TemporaryFolder()
        let url = folder.url.appending(path: "a.tokens")
        do {
            let writer = try TokenDatasetWriter(url)
            try writer.append([1, 2, 3])
            #expect(!FileManager.default.fileExists(atPath: url.path))
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    }

    @Test func idsOfImagesTakeAByteEach() throws {
        let folder = try TemporaryFolder()
        let ids: [[Int32]] = [[0, 255, 7], [1, 2, 3, 4, 128]]
        func write(_ name: String, areBytes: Bool) throws -> (data: TokenDataset, size: Int) {
            let url = folder.url.appending(path: name)
            let writer = try TokenDatasetWriter(url, areBytes: areBytes)
            for (index, sequence) in ids.enumerated() {
                try writer.append(sequence, scored: sequence.map { _ in false }, label: .class(Int32(index)))
            }
            return (try writer.finish(), try Data(contentsOf: url).count)
        }
        let (narrow, wide) = (try write("narrow", areBytes: true), try write("wide", areBytes: false))
        #expect(wide.size - narrow.size == 32 - 8)
        for data in [narrow.data, wide.data] {
            try data.verify()
            #expect((0..<2).map { Array(data[$0].ids) } == ids && data.vocabularySize == 256)
            #expect(data.label(1) == .class(1) && !data[1].isScored(2))
        }
        let writer = try TokenDatasetWriter(folder.url.appending(path: "broken"), areBytes: true)
        #expect(throws: TrainingError.self) { try writer.append([3, 256]) }
    }
}
