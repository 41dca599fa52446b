import Foundation
import Layers
import TensorCore
import TestSupport
import Testing

@testable import Models

/// Encoders with their heads: files as they are found, and what is made of them.
@Suite struct EncoderTests {
    private func outputs(_ model: any SequenceModel, _ batch: TokenBatch) -> Tensor {
        Autograd.withoutGradients { model.outputs(of: batch, context: ForwardContext()) }
    }

    private func batch(_ sequences: [[Int32]]) -> TokenBatch {
        TokenBatch(sequences, labels: sequences.map { _ in -1 })
    }

    /// A copy of a checkpoint whose configuration and tensors a test changes.
    private func copy(
        _ fixture: String, configuration change: (inout [String: Any]) -> Void = { _ in },
        tensor rename: (String) -> String? = { $0 }
    ) throws -> TemporaryFolder {
        let source = try Fixtures.folder(fixture), target = try TemporaryFolder()
        let file = try SafetensorsFile(source.appending(path: "model.safetensors"))
        try SafetensorsWriter.write(
            file.names.compactMap { name in try rename(name).map { try file.tensor(name).weightSource($0) } },
            to: target.url.appending(path: "model.safetensors"))
        let data = try Data(contentsOf: source.appending(path: "config.json"))
        var values = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        change(&values)
        try JSONSerialization.data(withJSONObject: values).write(to: target.url.appending(path: "config.json"))
        return target
    }

    @Test func sentenceEmbeddingsOfMiniLM() throws {
        struct Expected: Decodable {
            var input_ids: [Int32]
            var cls_hidden: [Float]
            var mean_pooled_normalized: [Float]
        }
        guard let folder = try TestData.folder("models/minilm-l6-v2-bert") else { return }
        let model = try ModelRegistry.load(folder: folder, for: nil)
        #expect(model.task == .featureExtraction && model.contextLength == 512)
        #expect(model.projections.last?.path == "pooler.dense", "its own class has no prefix")
        let expected = try JSONDecoder().decode(
            [Expected].self, from: Data(contentsOf: folder.appending(path: "expected_embeddings.json")))
        // All in one batch: none may see another.
        let batch = batch(expected.map(\.input_ids))
        let vectors = outputs(model, batch)
        #expect(vectors.shape == [expected.count, 384])
        let states = try #require(model as? EncoderModel)
        let hidden = Autograd.withoutGradients { states.hiddenStates(of: batch, context: ForwardContext()) }
        for (index, one) in expected.enumerated() {
            let vector = vectors.values[index * 384..<(index + 1) * 384]
            #expect(zip(vector, one.mean_pooled_normalized).allSatisfy { abs($0 - $1) < 1e-5 }, "text \(index)")
            let start = batch.sequences[index].lowerBound * 384
            #expect(zip(hidden.values[start..<start + 384], one.cls_hidden).allSatisfy { abs($0 - $1) < 1e-4 })
        }
    }

    @Test(arguments: ["bert_seqcls", "roberta_seqcls", "distilbert_seqcls"])
    func noSequenceSeesAnother(name: String) throws {
        let model = try ModelRegistry.load(folder: Fixtures.folder("golden/peft-adapters/\(name)/base"), for: nil)
        #expect(model.task == .sequenceClassification(labels: 3))
        let (a, b): ([Int32], [Int32]) = ([4, 5, 9, 2, 7], [3, 3, 8])
        let together = outputs(model, batch([a, b])).values
        let apart = outputs(model, batch([a])).values + outputs(model, batch([b])).values
        #expect(zip(together, apart).allSatisfy { abs($0 - $1) < 1e-6 })
        // Unlike in a decoder, what comes later counts for what comes first.
        let states = try #require(model as? EncoderModel)
        func first(_ ids: [Int32]) -> ArraySlice<Float> {
            let batch = batch([ids])
            return Autograd.withoutGradients {
                states.hiddenStates(of: batch, context: ForwardContext()).values.prefix(16)
            }
        }
        #expect(zip(first(a), first(a + [11])).contains { abs($0 - $1) > 1e-4 })
    }

    @Test func positionsOfRoBERTaDoNotCountPadding() throws {
        let folder = try Fixtures.folder("golden/peft-adapters/roberta_seqcls/base")
        let model = try ModelRegistry.load(folder: folder, for: nil)
        #expect(model.contextLength == 510)
        // Padding has the position before the first, and the token behind it the next one that is free.
        let states = try #require(model as? EncoderModel)
        func first(_ ids: [Int32]) -> [Float] {
            let batch = TokenBatch(
                ids: ids, positions: ids.indices.map(Int32.init), sequences: [0..<ids.count], targets: [])
            return Autograd.withoutGradients { states.hiddenStates(of: batch, context: ForwardContext()).values }
        }
        func isSame(_ states: [Float]) -> Bool {
            zip(states.prefix(16), states.suffix(16)).allSatisfy { abs($0 - $1) < 1e-6 }
        }
        #expect(isSame(first([1, 1])) && !isSame(first([7, 7])))
        let (padded, plain) = (first([4, 1, 6]), first([4, 6, 1]))
        #expect(zip(padded.suffix(16), plain[16..<32]).allSatisfy { abs($0 - $1) < 1e-6 })
        _ = outputs(model, batch([[Int32](repeating: 7, count: 510)]))
    }

    @Test(arguments: ["bert_cls", "bert_mlm"]) func writtenAsTransformersWrites(name: String) throws {
        let base = try Fixtures.folder("golden/\(name)"), target = try TemporaryFolder()
        try CheckpointWriter.write(ModelRegistry.load(folder: base, for: nil), to: target.url, base: base)
        for file in ["config.json", "model.safetensors"] {
            let bytes = try Data(contentsOf: base.appending(path: file))
            #expect(try Data(contentsOf: target.url.appending(path: file)) == bytes, "\(file)")
        }
    }

    @Test func filesMayLackThePrefixAndHaveOldNames() throws {
        let whole = try ModelRegistry.load(folder: Fixtures.folder("golden/bert_cls"), for: nil)
        let old = try copy(
            "golden/bert_cls",
            tensor: { name in
                let bare = name.hasPrefix("bert.") ? String(name.dropFirst(5)) : name
                return bare.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
                    "LayerNorm.bias", with: "LayerNorm.beta")
            })
        let read = try ModelRegistry.load(folder: old.url, for: nil)
        for (a, b) in zip(whole.parameters, read.parameters) {
            #expect(a.name == b.name && a.tensor.values == b.tensor.values)
        }
    }

    @Test func headsForOtherTasksAreLeftAndNewOnesDrawn() throws {
        let folder = try Fixtures.folder("golden/bert_mlm")
        let task = ModelTask.sequenceClassification(labels: 5)
        let error = #expect(throws: ModelError.self) { try ModelRegistry.load(folder: folder, for: task) }
        #expect(error?.description.contains("no head for this task") == true)
        let models = try [1, 1, 2].map { try ModelRegistry.load(folder: folder, for: task, newHeadSeed: $0) }
        let heads = try models.map { try #require($0.heads.first).weight.tensor.values }
        #expect(heads[0] == heads[1] && heads[0] != heads[2] && heads[0].contains { $0 != 0 })
        #expect(models[0].heads.map(\.path) == ["classifier"] && models[0].heads[0].weight.tensor.shape == [5, 16])
        #expect(models[0].projections.last?.path == "bert.pooler.dense")
        // A head that is there is taken, and another number of classes is no head that is there.
        let three = try Fixtures.folder("golden/bert_cls")
        #expect(throws: ModelError.self) { try ModelRegistry.load(folder: three, for: task, newHeadSeed: 1) }
    }

    @Test func bodiesForOtherTasks() throws {
        let folder = try Fixtures.folder("golden/bert_cls")
        let tokens = try ModelRegistry.load(folder: folder, for: .tokenClassification(labels: 3))
        #expect(!tokens.projections.contains { $0.path.contains("pooler") })
        #expect(outputs(tokens, batch([[4, 5, 6], [7]])).shape == [4, 3])
        let vectors = outputs(
            try ModelRegistry.load(folder: folder, for: .featureExtraction), batch([[4, 5, 6], [7]]))
        for row in 0..<2 {
            let length = vectors.values[row * 16..<(row + 1) * 16].reduce(0) { $0 + $1 * $1 }
            #expect(abs(length - 1) < 1e-5)
        }
        for attempt in [
            { _ = try ModelRegistry.load(folder: folder) },
            { _ = try ModelRegistry.load(folder: folder, for: .causalLM) },
        ] {
            let error = #expect(throws: ModelError.self) { try attempt() }
            #expect(error?.code == .unsupported && error?.description.contains("predicts no next token") == true)
        }
        let decoder = try Fixtures.folder("golden/llama")
        #expect(throws: ModelError.self) { try ModelRegistry.load(folder: decoder, for: .maskedLM) }
        let classifier = try ModelRegistry.load(
            folder: decoder, for: .sequenceClassification(labels: 4), newHeadSeed: 1)
        #expect(
            classifier.heads.map(\.path) == ["score"] && outputs(classifier, batch([[4, 5], [6]])).shape == [2, 4])
        #expect(!classifier.parameters.contains { $0.name == "lm_head.weight" })
    }

    @Test(
        arguments: [
            ("num_attention_heads", 3, "not a multiple"), ("position_embedding_type", "relative_key", "relative_key"),
            ("hidden_act", "swish", "swish"), ("is_decoder", true, "is_decoder"),
            ("id2label", ["0": "A", "2": "B"], "id2label"), ("id2label", ["0": "A"], "[1, 16]"),
        ] as [(String, any Sendable, String)])
    func whatIsNotComputedIsRefused(key: String, value: any Sendable, word: String) throws {
        let folder = try copy("golden/bert_cls", configuration: { $0[key] = value })
        let error = #expect(throws: ModelError.self) { try ModelRegistry.load(folder: folder.url, for: nil) }
        #expect(error?.description.contains(word) == true, "\(String(describing: error))")
    }

    @Test func randomModelsOfEveryTask() throws {
        for name in ["bert_seqcls", "roberta_seqcls", "distilbert_seqcls"] {
            let configuration = try ModelConfiguration(
                folder: Fixtures.folder("golden/peft-adapters/\(name)/base"))
            for task in [
                ModelTask.sequenceClassification(labels: 2), .tokenClassification(labels: 2), .maskedLM,
                .featureExtraction,
            ] {
                let model = try ModelRegistry.random(configuration, for: task, seed: 1)
                #expect(Set(model.parameters.map(\.name)).count == model.parameters.count)
                #expect(outputs(model, batch([[4, 5, 6]])).isFinite)
            }
        }
    }

    /// The losses of sentence embeddings, by hand and by differences.
    @Test(arguments: [true, false]) func pairsAreLearned(hasScores: Bool) throws {
        let model = try ModelRegistry.random(
            ModelConfiguration(folder: Fixtures.folder("golden/bert_cls")), for: .featureExtraction, seed: 3)
        var pairs = batch([[4, 5, 6], [7, 8], [9, 10, 11, 12], [13]])
        pairs.labels = [1, -1, 3, -1]
        if hasScores { pairs.values = [0.9, .nan, -0.2, .nan] }
        #expect(pairs.targetCount == 2)
        func loss() -> Float {
            Autograd.withoutGradients { model.score(pairs, scale: 0.5, context: ForwardContext()).loss.scalar }
        }
        let vectors = outputs(model, pairs).values
        func cosine(_ a: Int, _ b: Int) -> Float {
            (0..<16).reduce(0) { $0 + vectors[a * 16 + $1] * vectors[b * 16 + $1] }
        }
        let expected: Float
        if hasScores {
            let (first, second) = (cosine(0, 1) - 0.9, cosine(2, 3) + 0.2)
            expected = 0.5 * (first * first + second * second)
        } else {
            func likelihood(_ anchor: Int, _ right: Int, _ wrong: Int) -> Float {
                log(1 + exp(20 * (cosine(anchor, wrong) - cosine(anchor, right))))
            }
            expected = 0.5 * (likelihood(0, 1, 3) + likelihood(2, 3, 1))
        }
        #expect(abs(loss() - expected) < 1e-4)
        let scored = model.score(pairs, scale: 0.5, context: ForwardContext())
        #expect(scored.predictions.isEmpty == hasScores)

        let weight = try #require(model.projections.first).weight
        weight.isTrainable = true
        model.score(pairs, scale: 0.5, context: ForwardContext()).loss.backward()
        let gradient = try #require(weight.gradient).values
        let values = weight.tensor.values
        for place in [0, 17, 100, 255] {
            func moved(_ step: Float) -> Float {
                var changed = values
                changed[place] += step
                weight.assign(Tensor(changed, shape: weight.tensor.shape))
                return loss()
            }
            let difference = (moved(2e-2) - moved(-2e-2)) / 4e-2
            #expect(abs(difference - gradient[place]) < 2e-2 * abs(difference) + 1e-3, "\(place)")
        }
    }
}
