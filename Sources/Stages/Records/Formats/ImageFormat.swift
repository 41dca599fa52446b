import Foundation
import Images
import PipelineSpec
import Tokenizers
import Training

/// An image and the class it belongs to.
enum ImageFormat: RecordFormat {
    static let name = JobManifest.DataFormat.images
    static let shape = "images {image, label}, a folder of images for each class, or IDX"
    static let namesClasses = true

    static func recognise(_ fields: RecordFields) -> [String]? { fields.names(of: "image", "label") }

    static func read(_ fields: RecordFields) throws(UnusableRecord) -> any RecordContent {
        let image = try fields.string("image"), label = try ClassLabel(fields.value("label"))
        try label.requireClass()
        guard case .integer(let height)? = fields.value("height"), case .integer(let width)? = fields.value("width")
        else { return LabelledImage(source: .path(image), label: label) }
        guard let pixels = Data(base64Encoded: image), height > 0, width > 0, pixels.count == height * width else {
            throw UnusableRecord(reason: "the image is not the base64 of \(height) times \(width) grey values")
        }
        return LabelledImage(source: .grey(pixels, width: width), label: label)
    }
}

/// An image and its class.
struct LabelledImage: RecordContent {
    static let tasks: [JobManifest.Task] = [.imageClassification]

    /// Where the pixels are.
    enum Source: Sendable, Equatable {
        /// In a file, as the record names it.
        case path(String)
        /// In a file of the job.
        case file(PinnedFile)
        /// Here: grey values, row by row.
        case grey(Data, width: Int)
    }

    var source: Source
    let label: ClassLabel

    var prose: String? { nil }

    /// An image is what its file holds, wherever that lies.
    var identity: String {
        let image =
            switch source {
            case .path(let path): path
            case .file(let file): file.digest
            case .grey(let pixels, let width): "\(width) \(pixels.base64EncodedString())"
            }
        return "\(image)\u{1E}\(label.text)"
    }

    var labels: [ClassLabel] { [label] }

    func encode(with encoder: ExampleEncoder) throws -> [EncodedExample] {
        guard let images = encoder.images else { preconditionFailure("a task of images has an encoder for them") }
        let bytes = try images.bytes(of: source)
        return [
            EncodedExample(
                ids: bytes.map { Int32($0) }, scored: [Bool](repeating: false, count: bytes.count),
                label: .class(Int32(try encoder.index(of: label))))
        ]
    }

    func truncate(with encoder: ExampleEncoder) throws -> [EncodedExample]? { nil }
}
