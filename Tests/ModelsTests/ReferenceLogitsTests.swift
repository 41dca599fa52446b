import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Models

/// Logits of `model` for each sequence of ids, row by row.
private func logits(_ model: any LanguageModel, _ sequences: [[Int32]]) -> [Float] {
    let batch = TokenBatch(sequences)
    return Autograd.withoutGradients { model.logits(model.hiddenStates(of: batch, context: ForwardContext())).values }
}

private func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
    #expect(a.count == b.count)
    // `max` would pass over what is not a number.
    return zip(a, b).reduce(0) { $1.0.isNaN || $1.1.isNaN ? .infinity : max($0, abs($1.0 - $1.1)) }
}

/// Greedy continuation without a cache: the slow way that the cached one is held against.
private func greedy(_ model: any LanguageModel, from start: [Int32], count: Int) -> [Int32] {
    var ids = start
    while ids.count < count {
        let row = logits(model, [ids]).suffix(model.vocabularySize)
        ids.append(Int32(row.indices.max { row[$0] < row[$1] }! - row.startIndex))
    }
    return ids
}

@Suite struct ReferenceLogitsTests {
    /// What transformers computed, beside the model: `expected.json`.
    struct Expected: Decodable {
        var input_ids: [Int32]
        var logits: [[Float]]
        var loss: Float
        var greedy_from_bos_ids: [Int32]
    }

    @Test(arguments: ["stories260K", "stories260K-sharded", "stories260K-float16", "stories260K-bfloat16"])
    func stories(name: String) throws {
        guard let folder = try TestData.folder("models/\(name)") else { return }
        let model = try ModelRegistry.load(folder: folder)
        let expected = try JSONDecoder().decode(
            Expected.self, from: Data(contentsOf: folder.appending(path: "expected.json")))
        let got = logits(model, [expected.input_ids])
        #expect(largestDifference(got, expected.logits.flatMap { $0 }) < 1e-4)
        let batch = TokenBatch([expected.input_ids])
        let scored = Autograd.withoutGradients {
            model.score(batch, scale: 1 / Float(batch.targetCount), context: ForwardContext())
        }
        #expect(abs(scored.loss.scalar - expected.loss) < 1e-5)
        let ids = expected.greedy_from_bos_ids
        #expect(greedy(model, from: [ids[0]], count: ids.count) == ids)
    }

    @Test func sortingGPT2() throws {
        struct Expected: Decodable {
            var input_ids: [[Int32]]
            var logits: [[[Float]]]
        }
        guard let folder = try TestData.folder("models/gpt2-nano-sort") else { return }
        let model = try ModelRegistry.load(folder: folder)
        let expected = try JSONDecoder().decode(
            Expected.self, from: Data(contentsOf: folder.appending(path: "expected_logits.json")))
        // All three sequences in one batch: none may see another.
        let got = logits(model, expected.input_ids)
        #expect(largestDifference(got, expected.logits.flatMap { $0.flatMap { $0 } }) < 1e-4)
    }

    @Test func shakespeareGPT2() throws {
        struct Expected: Decodable { var greedy_ids: [Int32] }
        guard let folder = try TestData.folder("models/gpt2-shakespeare-trained-here") else { return }
        let model = try ModelRegistry.load(folder: folder)
        let expected = try JSONDecoder().decode(
            Expected.self, from: Data(contentsOf: folder.appending(path: "expected_greedy.json"))
        ).greedy_ids
        #expect(greedy(model, from: Array(expected.prefix(7)), count: expected.count) == expected)
    }

    @Test(arguments: [
        "golden/peft-adapters/gpt2_default", "golden/peft-adapters/gpt2_no_task_type",
        "golden/peft-adapters/llama_default", "golden/peft-adapters/llama_regex", "experts/adapters/mixtral_experts",
        "experts/adapters/qwen2_moe", "experts/adapters/qwen3_moe",
    ])
    func goldenBases(name: String) throws {
        let folder = try Fixtures.folder(name)
        let model = try ModelRegistry.load(folder: folder.appending(path: "base"))
        let expected = try SafetensorsFile(folder.appending(path: "expected.safetensors"))
        let rows = try GoldenRows(expected)
        let out = try expected.tensor("out.base")
        #expect(largestDifference(logits(model, rows.sequences), rows.unpadded(out)) < 1e-5)
    }

    @Test func attentionDoesNotDependOnTheBatch() throws {
        let model = try ModelRegistry.load(folder: Fixtures.folder("golden/llama"))
        let a: [Int32] = [1, 5, 9, 2, 7], b: [Int32] = [3, 3, 8]
        let together = logits(model, [a, b])
        #expect(largestDifference(together, logits(model, [a]) + logits(model, [b])) < 1e-6)
    }

    /// Of families with something of their own in attention: windows shorter than the sequence, caps, fused maps, norms of heads.
    private static let designs: [String] = {
        let sizes = """
            "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
            "num_hidden_layers": 3, "vocab_size": 64, "initializer_range": 0.4
            """
        return [
            #""model_type": "mistral", "sliding_window": 3"#, #""model_type": "qwen2""#, #""model_type": "qwen3""#,
            #""model_type": "gemma""#,
            #""model_type": "gemma2", "sliding_window": 3, "attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0"#,
            #""model_type": "gemma3_text", "sliding_window": 3, "sliding_window_pattern": 2"#,
            #""model_type": "phi3", "sliding_window": null"#,
            #""model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16"#,
        ].map { "{\($0), \(sizes)}" }
    }()

    @Test func cacheGivesTheSameLogits() throws {
        let files = ["golden/gpt2", "golden/llama", "golden/mixtral"].map { name in
            (name, { try ModelRegistry.load(folder: Fixtures.folder(name)) })
        }
        let drawn = Self.designs.map { design in
            let file = URL(filePath: "config.json")
            return (design, { try ModelRegistry.random(ModelConfiguration(Data(design.utf8), file: file), seed: 3) })
        }
        for (name, make) in files + drawn {
            let model = try make()
            let ids: [Int32] = [1, 5, 9, 2, 7, 11, 4]
            let whole = logits(model, [ids])
            let cache = model.makeCache(capacity: 16)
            var rows: [Float] = []
            for part in [0..<3, 3..<4, 4..<7] {
                let batch = TokenBatch(
                    ids: Array(ids[part]), positions: part.map(Int32.init), sequences: [0..<part.count],
                    targets: Array(repeating: -1, count: part.count))
                rows += Autograd.withoutGradients {
                    model.logits(model.hiddenStates(of: batch, context: ForwardContext(cache: cache))).values
                }
            }
            // Products of other heights are summed in another order, by some BLAS kernels more than by others, and the
            // drawn models have logits of up to ten.
            let size = max(1, whole.map(abs).max() ?? 0)
            #expect(largestDifference(rows, whole) < 1e-5 * size, "\(name)")
        }
    }
}

/// Right-padded inputs of a golden file as sequences without padding.
struct GoldenRows {
    let sequences: [[Int32]]
    private let mask: [[Bool]]

    init(_ file: SafetensorsFile) throws {
        func rows(_ name: String) throws -> [[Int64]] {
            let shape = try file.entry(name).shape
            let values = try file.bytes(of: name)
            return (0..<shape[0]).map { row in
                (0..<shape[1]).map { values.loadUnaligned(fromByteOffset: 8 * (row * shape[1] + $0), as: Int64.self) }
            }
        }
        let ids = try rows("in.input_ids")
        mask =
            try file.contains("in.attention_mask")
            ? rows("in.attention_mask").map { $0.map { $0 != 0 } } : ids.map { $0.map { _ in true } }
        let mask = mask
        sequences = ids.indices.map { row in
            ids[row].indices.filter { mask[row][$0] }.map { Int32(ids[row][$0]) }
        }
    }

    /// The rows of `[batch, length, C]` that are not padding.
    func unpadded(_ tensor: Tensor) -> [Float] {
        let c = tensor.columns, values = tensor.values
        var result: [Float] = []
        for (row, flags) in mask.enumerated() {
            for (column, isReal) in flags.enumerated() where isReal {
                let start = (row * flags.count + column) * c
                result += values[start..<start + c]
            }
        }
        return result
    }
}
