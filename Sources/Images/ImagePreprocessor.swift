package import Foundation

/// What is done to an image before a model sees it, as `preprocessor_config.json` of Hugging Face says: resize, rescale,
/// normalise.
///
/// Checked against Pillow and the arithmetic of transformers' `ViTImageProcessor`. Crops, padding and sizes by the shorter
/// side are refused by name.
package struct ImagePreprocessor: Equatable, Sendable {
    /// The size images are brought to; `nil` leaves them as they are.
    package let size: Size?
    package let resampling: Resampling
    /// What every channel's bytes are multiplied by, and then what is taken away and divided by: `(x · scale − mean) / std`.
    /// As many as channels, or one for all.
    package let scale: Double
    package let mean: [Double]
    package let deviation: [Double]

    package static let fileName = "preprocessor_config.json"

    package struct Size: Equatable, Sendable {
        package let width: Int
        package let height: Int
    }

    /// Reads `preprocessor_config.json` in `folder`.
    ///
    /// Absent keys have the defaults of `ViTImageProcessor`.
    ///
    /// - Throws: ``ImageError``: `incomplete`, `malformed`, or `unsupported` for a step that is not built.
    package init(folder: URL) throws {
        let file = folder.appending(path: Self.fileName)
        let path = file.path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ImageError(
                .incomplete, "\(path) is missing or unreadable; a base for images needs a preprocessor_config.json")
        }
        try self.init(data, path: path)
    }

    /// Reads a configuration that was read from `path`.
    package init(_ data: Data, path: String) throws {
        guard let object = try? JSONSerialization.jsonObject(with: data), let values = object as? [String: Any] else {
            throw ImageError(.malformed, "\(path) is not a JSON object")
        }
        let fields = Fields(values: values, path: path)
        for key in ["do_center_crop", "do_pad", "do_thumbnail", "do_align_long_axis", "do_random_crop"]
        where try fields.flag(key, default: false) {
            throw ImageError(.unsupported, "\(path): \(key) is not supported; ViT's own preprocessing does not have it")
        }
        size = try fields.flag("do_resize", default: true) ? fields.size() : nil
        let code = try fields.number("resample").map { Int($0) } ?? Resampling.bilinear.rawValue
        guard let resampling = Resampling(rawValue: code) else {
            throw ImageError(.unsupported, "\(path): resample \(code) is not one of Pillow's filters, 0 to 5")
        }
        self.resampling = resampling
        scale = try fields.flag("do_rescale", default: true) ? fields.number("rescale_factor") ?? 1 / 255 : 1
        let normalises = try fields.flag("do_normalize", default: true)
        mean = normalises ? try fields.numbers("image_mean") ?? [0.5] : [0]
        deviation = normalises ? try fields.numbers("image_std") ?? [0.5] : [1]
        guard !mean.isEmpty, mean.count == deviation.count, deviation.allSatisfy({ $0 != 0 }) else {
            throw ImageError(
                .malformed, "\(path): image_mean \(mean) and image_std \(deviation) must be as many, and none zero")
        }
    }

    /// The image's bytes in the model's size and channels.
    ///
    /// - Throws: ``ImageError`` when the configuration normalises another number of channels.
    package func resized(_ image: PixelImage, channels: Int) throws -> PixelImage {
        guard mean.count == 1 || mean.count == channels else {
            throw ImageError(
                .unsupported,
                "preprocessor_config.json normalises \(mean.count) channels, and config.json has num_channels \(channels)"
            )
        }
        let converted = image.converted(channels: channels)
        return size.map { converted.resized(width: $0.width, height: $0.height, resampling) } ?? converted
    }

    /// What each byte becomes, for each channel: 256 numbers are all there are.
    package func tables(channels: Int) -> [[Float]] {
        (0..<channels).map { channel in
            let (mean, deviation) = (mean[channel % mean.count], deviation[channel % deviation.count])
            return (0..<256).map { Float((Double($0) * scale - mean) / deviation) }
        }
    }

    /// The numbers a model takes: channel by channel, each row by row.
    package func normalized(_ image: PixelImage) -> [Float] {
        let tables = tables(channels: image.channels), area = image.width * image.height
        return image.planes.enumerated().map { tables[$0 / area][Int($1)] }
    }
}

/// The members of the file.
private struct Fields {
    let values: [String: Any]
    let path: String

    private func present(_ key: String) -> Any? {
        guard let value = values[key], !(value is NSNull) else { return nil }
        return value
    }

    func flag(_ key: String, default fallback: Bool) throws -> Bool {
        guard let value = present(key) else { return fallback }
        guard let flag = value as? Bool else { throw mistake(key, value, "true or false") }
        return flag
    }

    func number(_ key: String) throws -> Double? {
        guard let value = present(key) else { return nil }
        guard let number = value as? NSNumber, number.doubleValue.isFinite else {
            throw mistake(key, value, "a number")
        }
        return number.doubleValue
    }

    func numbers(_ key: String) throws -> [Double]? {
        guard let value = present(key) else { return nil }
        if let number = value as? NSNumber { return [number.doubleValue] }
        guard let numbers = value as? [NSNumber] else { throw mistake(key, value, "a list of numbers") }
        return numbers.map(\.doubleValue)
    }

    /// `{height, width}`, or one number for both; 224 by default.
    func size() throws -> ImagePreprocessor.Size {
        func pixels(_ value: Any?) -> Int? {
            (value as? NSNumber).flatMap { Int(exactly: $0.doubleValue) }.flatMap {
                (1...16384).contains($0) ? $0 : nil
            }
        }
        let value = present("size") ?? 224
        if let side = pixels(value) { return ImagePreprocessor.Size(width: side, height: side) }
        let sides = value as? [String: Any]
        if let width = pixels(sides?["width"]), let height = pixels(sides?["height"]) {
            return ImagePreprocessor.Size(width: width, height: height)
        }
        guard sides?["shortest_edge"] == nil, sides?["longest_edge"] == nil else {
            throw ImageError(
                .unsupported, "\(path): size by the shorter or longer edge is not supported; write height and width")
        }
        throw mistake("size", value, "a height and a width in pixels")
    }

    private func mistake(_ key: String, _ value: Any, _ what: String) -> ImageError {
        ImageError(.malformed, "\(path): \(key) must be \(what), not \(value)")
    }
}
