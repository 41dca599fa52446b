import Foundation
package import Images
package import Layers
package import TensorCore

/// A vision transformer that classifies images (Dosovitskiy et al. 2020, arXiv 2010.11929); checked against transformers'
/// `ViTForImageClassification`.
///
/// To datasets and batches an image is a sequence of its bytes: 256 ids, and as many of them as ``contextLength``, in the size
/// that the base's preprocessing brings images to, channel by channel and each row by row. The model makes numbers of them as
/// `preprocessor_config.json` says.
///
/// Shapes in this file: `S` images of `P` patches, `C` the width. Adapters know its modules by the names of transformers 5, or by
/// those of transformers 4, which its files of weights have in any case. The configuration's dropout rates are for
/// pretraining and are not applied.
package final class ViT: SequenceModel {
    package let modelType = "vit"
    package let task: ModelTask
    package let vocabularySize = 256
    package let geometry: ImageGeometry
    package let formerNames: FormerNames
    // PEFT has no default; these are the maps of its examples.
    package let defaultTargets = ["q_proj", "v_proj"]

    private let preprocessor: ImagePreprocessor
    private let width: Int
    private let classToken: Parameter
    private let positions: Parameter
    private let patchWeight: Parameter
    private let patchBias: Parameter
    private let blocks: [PreNormBlock]
    private let norm: LayerNorm
    private let classifier: Projection

    init(_ configuration: ModelConfiguration, labels: Int, _ weights: WeightReader) throws {
        task = .imageClassification(labels: labels)
        geometry = try ImageGeometry(configuration)
        preprocessor = try ImagePreprocessor(besides: configuration, geometry)
        formerNames = FormerNames([
            "vit.layers.": "vit.encoder.layer.", ".attention.q_proj": ".attention.attention.query",
            ".attention.k_proj": ".attention.attention.key", ".attention.v_proj": ".attention.attention.value",
            ".attention.o_proj": ".attention.output.dense", ".mlp.fc1": ".intermediate.dense",
            ".mlp.fc2": ".output.dense",
        ])
        weights.formerNames = formerNames
        // What a body for other tasks comes with.
        weights.passOver(["vit.pooler.", "pooler.", "vit.embeddings.mask_token", "embeddings.mask_token", "decoder."])
        let design = try PreNormDesign(
            configuration, eps: 1e-12, activation: "gelu",
            hasQueryKeyValueBias: configuration.flag("qkv_bias", default: true),
            names: PreNormDesign.Names(
                attention: "attention", attentionOutput: "o_proj", attentionNorm: "layernorm_before",
                feedForwardNorm: "layernorm_after"))
        width = design.width
        let spread = WeightReader.Initial.normal(design.spread)
        let path = "vit.embeddings", patches = "\(path).patch_embeddings.projection"
        classToken = try weights.take("\(path).cls_token", [1, 1, width], spread)
        positions = try weights.take("\(path).position_embeddings", [1, geometry.patchCount + 1, width], spread)
        let side = geometry.patchSide
        patchWeight = try weights.take("\(patches).weight", [width, geometry.channels, side, side], spread)
        patchBias = try weights.take("\(patches).bias", [width], .zeros)
        blocks = try (0..<design.layers).map { try PreNormBlock("vit.layers.\($0)", design, weights) }
        norm = try weights.layerNorm("vit.layernorm", width, eps: design.eps)
        classifier = try weights.headProjection("classifier", width, labels, spread: design.spread)
    }

    /// The bytes of an image.
    package var contextLength: Int { geometry.byteCount }
    package var projections: [Projection] { blocks.flatMap(\.projections) }
    package var heads: [Projection] { [classifier] }

    package var parameters: [Parameter] {
        [classToken, positions, patchWeight, patchBias] + blocks.flatMap(\.parameters) + norm.parameters
            + classifier.parameters
    }

    package func outputs(of batch: TokenBatch, context: ForwardContext) -> Tensor {
        precondition(
            batch.sequences.allSatisfy { $0.count == geometry.byteCount },
            "ViT: images have \(geometry.byteCount) bytes, not \(batch.sequences.map(\.count))")
        let tables = preprocessor.tables(channels: geometry.channels)
        let area = geometry.side * geometry.side
        return logits(
            geometry.patches(images: batch.sequences.count) { image, index in
                tables[index / area][Int(batch.ids[batch.sequences[image].lowerBound + index])]
            }, context)
    }

    /// The logits of images whose numbers are prepared, `[S, channels · height · width]`.
    package func outputs(ofPixels pixels: Tensor, context: ForwardContext = ForwardContext()) -> Tensor {
        precondition(pixels.count % geometry.byteCount == 0, "ViT: pixels \(pixels.shape)")
        let values = pixels.pointer, size = geometry.byteCount
        return withExtendedLifetime(pixels) {
            logits(geometry.patches(images: pixels.count / size) { values[$0 * size + $1] }, context)
        }
    }

    package func score(_ batch: TokenBatch, scale: Float, context: ForwardContext) -> ScoredTokens {
        outputs(of: batch, context: context).crossEntropy(targets: batch.labels, scale: scale)
    }

    /// From patches `[S · P, patch]` to classes: only the state of the class token counts at the end.
    private func logits(_ patches: Tensor, _ context: ForwardContext) -> Tensor {
        let count = patches.rows / geometry.patchCount, length = geometry.patchCount + 1
        let weight = patchWeight.tensor.reshaped([width, geometry.patchSize])
        var x = patches.linear(weight, bias: patchBias.tensor)
            .withClassTokens(classToken.tensor, positions: positions.tensor)
        let rows = (0..<count).map { $0 * length..<($0 + 1) * length }
        for block in blocks {
            x = context.layer(consume x) { block($0, rows: rows, context) }
        }
        return classifier(norm(x.gatheringRows(rows.map { Int32($0.lowerBound) })), context)
    }
}

/// How images are cut into square patches.
package struct ImageGeometry: Sendable, Equatable {
    package let channels: Int
    /// Height and width of an image, and of a patch.
    package let side: Int
    package let patchSide: Int

    /// - Throws: ``ModelError`` for sizes that do not fit, and for channels that are neither grey nor RGB.
    package init(_ configuration: ModelConfiguration) throws {
        channels = try configuration.size("num_channels", default: 3)
        side = try configuration.size("image_size", default: 224)
        patchSide = try configuration.size("patch_size", default: 16)
        guard side % patchSide == 0, [1, 3].contains(channels), side <= 16384 else {
            throw ModelError(
                .configuration,
                "\(configuration.file.path): images of \(side) pixels in patches of \(patchSide), with \(channels) channels; "
                    + "patches must fit, and channels be 1 or 3")
        }
    }

    package var byteCount: Int { channels * side * side }
    package var patchSize: Int { channels * patchSide * patchSide }
    package var patchCount: Int { (side / patchSide) * (side / patchSide) }
    /// The rows that an image is to a model: its patches and the class token.
    package var rowCount: Int { patchCount + 1 }

    /// The patches of images, row by row of patches, each channel by channel: `[images · patches, patch]`.
    ///
    /// - Parameter value: of an image at an index into its numbers, which lie channel by channel.
    func patches(images: Int, _ value: (_ image: Int, _ index: Int) -> Float) -> Tensor {
        let result = Tensor(uninitialized: [images * patchCount, patchSize])
        let across = side / patchSide
        var target = result.pointer
        for image in 0..<images {
            for patch in 0..<patchCount {
                let top = patch / across * patchSide, left = patch % across * patchSide
                for channel in 0..<channels {
                    for row in 0..<patchSide {
                        let start = (channel * side + top + row) * side + left
                        for column in 0..<patchSide { target[column] = value(image, start + column) }
                        target += patchSide
                    }
                }
            }
        }
        return result
    }
}

extension ImagePreprocessor {
    /// What lies beside a configuration, or else what transformers prepares images with by itself.
    ///
    /// - Throws: ``ImageError``, or ``ModelError`` for channels other than the model's.
    package init(besides configuration: ModelConfiguration, _ geometry: ImageGeometry) throws {
        let folder = configuration.file.deletingLastPathComponent()
        let file = folder.appending(path: ImagePreprocessor.fileName).path(percentEncoded: false)
        guard FileManager.default.fileExists(atPath: file) else {
            self = try ImagePreprocessor(Data(#"{"size": \#(geometry.side)}"#.utf8), path: configuration.file.path)
            return
        }
        try self.init(folder: folder)
        guard mean.count == 1 || mean.count == geometry.channels else {
            throw ModelError(
                .configuration,
                "\(file) normalises \(mean.count) channels, and config.json has num_channels \(geometry.channels)")
        }
    }
}

/// The architecture's line in the registry.
enum ViTArchitecture: Architecture {
    static let family = ModelFamily.vision
    static let defaultTask = ModelTask.imageClassification(labels: 2)

    static func limits(_ configuration: ModelConfiguration) throws -> ModelLimits {
        let geometry = try ImageGeometry(configuration)
        return ModelLimits(vocabularySize: 256, contextLength: geometry.byteCount, images: geometry)
    }

    static func model(
        _ configuration: ModelConfiguration, _ weights: WeightReader, for task: ModelTask
    ) throws -> any SequenceModel {
        guard case .imageClassification(let labels) = task else {
            throw ModelError(.unsupported, "\(configuration.file.path): \(task) is not supported with ViT")
        }
        return try ViT(configuration, labels: labels, weights)
    }
}
