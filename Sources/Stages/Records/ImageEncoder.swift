import Artifacts
import Foundation
import Images
import Models
import PipelineSpec

/// Brings images to the size and the channels that a vision model reads. A value without state of its own: any number of
/// threads may use it at once.
struct ImageEncoder: Sendable, Equatable {
    let geometry: ImageGeometry
    private let preprocessor: ImagePreprocessor

    /// Reads the preprocessing that lies beside a base's configuration.
    init(_ configuration: ModelConfiguration, _ geometry: ImageGeometry) throws {
        self.geometry = geometry
        preprocessor = try ImagePreprocessor(besides: configuration, geometry)
        let size = preprocessor.size
        guard size.map({ $0.width == geometry.side && $0.height == geometry.side }) ?? true else {
            throw StageError(
                "base_incomplete",
                "\(configuration.file.deletingLastPathComponent().path): preprocessor_config.json makes images of "
                    + "\(size?.width ?? 0) by \(size?.height ?? 0) pixels, and config.json has image_size \(geometry.side)"
            )
        }
    }

    /// The bytes of an image, channel by channel.
    ///
    /// - Throws: ``UnusableRecord`` for what is no image that can be read, ``StageError`` `inputs_changed`.
    func bytes(of source: LabelledImage.Source) throws -> [UInt8] {
        let image: PixelImage
        switch source {
        case .path(let path): throw UnusableRecord(reason: "the image \(path) is not among the files of the data")
        case .grey(let pixels, let width):
            image = PixelImage(width: width, height: pixels.count / width, channels: 1, pixels: [UInt8](pixels))
        case .file(let file):
            let data = try Self.content(of: file)
            do {
                image = try PixelImage(decoding: data, path: URL(filePath: file.path).lastPathComponent)
            } catch let error as ImageError {
                throw UnusableRecord(reason: "\(error)")
            }
        }
        let resized = try preprocessor.resized(image, channels: geometry.channels)
        guard resized.width == geometry.side, resized.height == geometry.side else {
            throw UnusableRecord(
                reason:
                    "the image has \(resized.width) by \(resized.height) pixels, the base reads \(geometry.side) by "
                    + "\(geometry.side), and its preprocessor_config.json resizes nothing")
        }
        return resized.planes
    }

    /// The bytes of a file, which are those that were pinned.
    private static func content(of file: PinnedFile) throws -> Data {
        var data = Data()
        data.reserveCapacity(Int(file.length))
        try PinnedText(file: file).forEachBlock { data += $0 }
        return data
    }
}
