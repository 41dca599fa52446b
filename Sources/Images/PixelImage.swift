import CImages
package import Foundation

/// An image of 8-bit grey or RGB pixels.
package struct PixelImage: Equatable, Sendable {
    package let width: Int
    package let height: Int
    /// 1 for grey, 3 for RGB.
    package let channels: Int
    /// Rows from the top, the channels of a pixel side by side: `height · width · channels` bytes.
    package let pixels: [UInt8]

    /// - Precondition: as many bytes as the sizes say.
    package init(width: Int, height: Int, channels: Int, pixels: [UInt8]) {
        precondition(
            width > 0 && height > 0 && channels > 0 && pixels.count == width * height * channels,
            "PixelImage: \(pixels.count) bytes for \(width)x\(height)x\(channels)")
        self.width = width
        self.height = height
        self.channels = channels
        self.pixels = pixels
    }

    /// Beyond this a file is refused: twice the size that Pillow warns of.
    private static let mostPixels: UInt64 = 178_956_970

    /// Decodes a PNG or JPEG file and turns it upright as its Exif block says.
    ///
    /// Transparency, gamma and colour profiles are passed over; 16-bit samples keep their upper byte; inks become RGB as
    /// in Pillow.
    ///
    /// - Parameter path: the file that errors name.
    /// - Throws: ``ImageError`` with code `malformed` for what is damaged, ends early, is too large, or is no such file.
    package init(decoding data: Data, path: String) throws {
        let bytes = [UInt8](data)
        var image = ci_image()
        var message = [CChar](repeating: 0, count: 256)
        let isDecoded =
            if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]) {
                ci_decode_png(bytes, bytes.count, Self.mostPixels, &image, &message)
            } else if bytes.starts(with: [0xFF, 0xD8]) {
                ci_decode_jpeg(bytes, bytes.count, Self.mostPixels, &image, &message)
            } else {
                throw ImageError(.malformed, "\(path) is neither a PNG nor a JPEG file")
            }
        guard isDecoded == 1 else {
            let text = String(decoding: message.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            throw ImageError(.malformed, "\(path) cannot be decoded: \(text)")
        }
        defer { ci_release(&image) }
        let (width, height, channels) = (Int(image.width), Int(image.height), Int(image.channels))
        let upright = PixelImage(
            width: width, height: height, channels: channels,
            pixels: Array(UnsafeBufferPointer(start: image.pixels, count: width * height * channels)))
        let exif = Array(UnsafeBufferPointer(start: image.exif, count: image.exif_count))
        self = upright.oriented(ExifOrientation(exif: exif))
    }

    /// Decodes a PNG or JPEG file.
    package init(contentsOf file: URL) throws {
        let path = file.path(percentEncoded: false)
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ImageError(.incomplete, "\(path) is missing or unreadable")
        }
        try self.init(decoding: data, path: path)
    }

    /// The bytes channel by channel, each row by row.
    package var planes: [UInt8] {
        (0..<channels).flatMap { channel in stride(from: channel, to: pixels.count, by: channels).map { pixels[$0] } }
    }

    /// The same image in grey or RGB.
    ///
    /// Grey is `(19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶`, the luma of ITU-R BT.601 in Pillow's fixed point.
    ///
    /// - Precondition: 1 or 3 channels, in both.
    package func converted(channels count: Int) -> PixelImage {
        precondition(
            [1, 3].contains(count) && [1, 3].contains(channels), "converted: \(channels) to \(count) channels")
        guard count != channels else { return self }
        let area = width * height
        let converted = [UInt8](unsafeUninitializedCapacity: area * count) { target, written in
            written = area * count
            for index in 0..<area {
                if count == 3 {
                    for channel in 0..<3 { target[3 * index + channel] = pixels[index] }
                } else {
                    let (r, g, b) = (Int(pixels[3 * index]), Int(pixels[3 * index + 1]), Int(pixels[3 * index + 2]))
                    target[index] = UInt8((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16)
                }
            }
        }
        return PixelImage(width: width, height: height, channels: count, pixels: converted)
    }

    /// The image as it is to be seen.
    func oriented(_ orientation: ExifOrientation) -> PixelImage {
        guard orientation != .upright else { return self }
        let (newWidth, newHeight) = orientation.isTransposed ? (height, width) : (width, height)
        var turned = [UInt8](repeating: 0, count: pixels.count)
        for y in 0..<newHeight {
            for x in 0..<newWidth {
                let (oldX, oldY) = orientation.source(x: x, y: y, width: newWidth, height: newHeight)
                for channel in 0..<channels {
                    turned[(y * newWidth + x) * channels + channel] =
                        pixels[(oldY * width + oldX) * channels + channel]
                }
            }
        }
        return PixelImage(width: newWidth, height: newHeight, channels: channels, pixels: turned)
    }
}
