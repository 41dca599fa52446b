package import Foundation
package import Layers
package import TensorCore

/// The text encoder of CLIP (Radford et al. 2021, arXiv 2103.00020), as diffusion models take it: the states of all tokens;
/// checked against transformers' `CLIPTextModel`.
///
/// Learned positions, each token attends to those before it. It stands under no head of its own, so it is loaded by itself and not
/// by the registry. Files have its names with or without `text_model.` before them.
package final class CLIPText: AdaptableModel {
    package let modelType = "clip_text_model"
    package let task = ModelTask.featureExtraction
    package let defaultTargets = ["q_proj", "k_proj", "v_proj", "out_proj"]
    package let vocabularySize: Int
    package let contextLength: Int

    private let words: Embedding
    private let positions: Embedding
    private let blocks: [PreNormBlock]
    private let norm: LayerNorm

    /// Loads a Hugging Face folder.
    ///
    /// - Throws: ``ModelError`` or a weight-file error that names the file, key or tensor.
    package init(folder: URL) throws {
        let configuration = try ModelConfiguration(folder: folder)
        let type = try configuration.word("model_type", default: modelType)
        guard type == modelType else {
            throw ModelError(
                .unsupported, "\(configuration.file.path): model_type \"\(type)\" is not \(modelType)")
        }
        let weights = try WeightReader(checkpoint: folder)
        let design = try PreNormDesign(
            configuration, eps: 1e-5, activation: "quick_gelu", isCausal: true,
            names: PreNormDesign.Names(
                attention: "self_attn", attentionOutput: "out_proj", attentionNorm: "layer_norm1",
                feedForwardNorm: "layer_norm2"))
        vocabularySize = try configuration.size("vocab_size", default: 49408)
        contextLength = try configuration.size("max_position_embeddings", default: 77)
        let spread = WeightReader.Initial.normal(design.spread)
        words = try weights.embedding("embeddings.token_embedding", vocabularySize, design.width, spread)
        positions = try weights.embedding("embeddings.position_embedding", contextLength, design.width, spread)
        blocks = try (0..<design.layers).map { try PreNormBlock("encoder.layers.\($0)", design, weights) }
        norm = try weights.layerNorm("final_layer_norm", design.width, eps: design.eps)
        try weights.finish()
    }

    package var projections: [Projection] { blocks.flatMap(\.projections) }
    package var embeddings: [Embedding] { [words, positions] }

    package var parameters: [Parameter] {
        embeddings.map(\.weight) + blocks.flatMap(\.parameters) + norm.parameters
    }

    /// The states after the last norm, `[N, C]`, one row a token.
    package func hiddenStates(of batch: TokenBatch, context: ForwardContext = ForwardContext()) -> Tensor {
        var x = Tensor.sum(words(batch.ids, context), positions(batch.positions, context))
        for block in blocks {
            x = context.layer(consume x) { block($0, rows: batch.sequences, context) }
        }
        return norm(x)
    }
}
