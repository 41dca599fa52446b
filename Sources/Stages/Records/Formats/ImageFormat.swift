import PipelineSpec
import Tokenizers

/// An image and the class it belongs to.
enum ImageFormat: RecordFormat {
    static let name = JobManifest.DataFormat.images
    static let shape = "images {image, label}"

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "image", "label") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        LabelledImage(image: try fields.string("image"), label: try ClassLabel(fields.value("label")))
    }
}

/// An image, as the path of its file or as base64 of its grey values, and its class.
struct LabelledImage: RecordContent {
    let image: String
    let label: ClassLabel

    var identity: String { "\(image)\u{1E}\(label.text)" }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        throw StageError(
            "unsupported",
            "\(encoder.folder): images are for vision models, such as ViT, and this build has none; "
                + "train on text, or leave the images out of data.train")
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? { nil }
}
