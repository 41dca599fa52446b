import Artifacts
import Foundation
import PipelineSpec
import Training

/// Training that goes on from a published version: with its weights, and where the data have only grown since, on what is new
/// and a share of what is older.
struct WarmStart {
    let parent: PinnedVersion
    let folder: URL
    private let run: StageRun
    private let record: ParentRecord

    /// What is read of the parent's record.
    private struct ParentRecord: Decodable {
        struct Lineage: Decodable {
            var base: [PinnedFile]
            var data: [String: [PinnedFile]]
            var manifest: JobManifest
        }
        var lineage: Lineage
    }

    /// - Returns: `nil` for training that begins anew: it is not asked for, there is no version yet, or production was made
    ///   from another base, which the log says.
    /// - Throws: ``StageError`` for a version that the manifest names and that does not fit.
    init?(_ run: StageRun) throws {
        guard let parent = run.request.parent else { return nil }
        self.run = run
        self.parent = parent
        folder = URL(filePath: parent.path, directoryHint: .isDirectory)
        record = try run.read(ParentRecord.self, from: folder.appending(path: Version.recordFile))
        let lineage = record.lineage
        func refuse(_ why: String) throws {
            guard run.manifest.train.start == .production else {
                throw StageError("unsuited_parent", "train.init: version \(parent.number) \(why)")
            }
            run.log("version \(parent.number), which is in production, \(why): training begins anew")
        }
        if Set(lineage.base.map(\.digest)) != Set(run.request.base.map(\.digest)) {
            try refuse("was made from another base")
            return nil
        }
        let (old, new) = (lineage.manifest.adapter, run.manifest.adapter)
        if old.rank != new.rank || old.alpha != new.alpha || old.rslora != new.rslora || old.targets != new.targets {
            try refuse("has another rank, alpha or targets")
            return nil
        }
        run.log("training goes on from version \(parent.number)")
    }

    /// The sequences that are trained on, where not all are.
    struct Selection {
        let dataset: TokenDataset
        let older: Int
        let newer: Int
    }

    /// What is new since the parent was trained, with the manifest's share of what is older; `nil` for all.
    func select(from tokens: URL) throws -> Selection? {
        guard let replay = run.manifest.train.replay else { return nil }
        guard let index = RecordIndex.Reader(tokens.appending(path: RecordIndex.fileName)) else { return nil }
        guard let known = try knownLengths(index.contents.sources) else {
            run.log("the data have not only grown since version \(parent.number): all of them are trained on")
            return nil
        }
        let all = try TokenDataset(tokens.appending(path: SplitName.train.tokensFile))
        var (older, newer) = ([(hash: UInt64, sequences: Range<Int>)](), [Range<Int>]())
        var (record, sequence) = (0, 0)
        for source in index.contents.sources {
            for number in record..<record + source.records {
                guard let entry = index[number], entry.split == .train, entry.sequences > 0 else { continue }
                let own = sequence..<sequence + entry.sequences
                sequence = own.upperBound
                if entry.end <= known[source.path] ?? 0 { older.append((entry.hash, own)) } else { newer.append(own) }
            }
            record += source.records
        }
        guard sequence == all.count else {
            throw StageError("damaged_input", "\(tokens.path): the index of records is not that of its sequences")
        }
        let fresh = newer.reduce(0) { $0 + $1.count }
        guard fresh > 0 else { return nil }
        // The share is of what is trained on, so of the older ones as many as make it beside all new ones.
        var wanted = Int((Double(fresh) * replay / (1 - replay)).rounded())
        let seed = run.manifest.train.seed
        let drawn = older.sorted { Self.draw($0.hash, seed) < Self.draw($1.hash, seed) }.prefix { one in
            defer { wanted -= one.sequences.count }
            return wanted > 0
        }.map(\.sequences)
        let chosen = (newer + drawn).sorted { $0.lowerBound < $1.lowerBound }
        let writer = try TokenDatasetWriter(run.directory.url.appending(path: "training.tokens"))
        for index in chosen.joined() {
            let example = all[index]
            let scored = example.ids.indices.map { $0 == 0 || example.isScored($0) }
            try writer.append(
                Array(example.ids), scored: scored.allSatisfy { $0 } ? nil : scored, label: example.label,
                types: all.tokenTypes(index))
        }
        let old = drawn.reduce(0) { $0 + $1.count }
        run.log(
            "\(fresh) sequences are new since version \(parent.number); \(old) older ones are trained on beside them")
        return Selection(dataset: try writer.finish(), older: old, newer: fresh)
    }

    /// How much of each file the parent has seen; `nil` when something that it saw is not there as it was.
    private func knownLengths(_ sources: [RecordIndex.Source]) throws -> [String: Int64]? {
        var known: [String: Int64] = [:]
        for old in record.lineage.data["train"] ?? [] {
            guard let now = sources.first(where: { $0.path == old.path }), now.length >= old.length else { return nil }
            let digest =
                now.length == old.length
                ? now.digest : try Digest.sha256(of: URL(filePath: old.path), length: old.length)
            guard digest == old.digest else { return nil }
            known[old.path] = old.length
        }
        return known
    }

    /// A number that says how early an older record is drawn: by its content and the seed, wherever it stands.
    private static func draw(_ hash: UInt64, _ seed: UInt64) -> UInt64 {
        var z = hash &+ seed &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
