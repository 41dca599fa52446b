import Foundation

/// Pillow's filters for changing an image's size; the raw values are those of `resample` in preprocessor_config.json.
package enum Resampling: Int, Sendable, CaseIterable {
    case nearest, lanczos, bilinear, bicubic, box, hamming

    /// How far the filter reaches, in pixels of the larger scale.
    fileprivate var support: Double {
        switch self {
        case .nearest, .box: 0.5
        case .bilinear, .hamming: 1
        case .bicubic: 2
        case .lanczos: 3
        }
    }

    /// The filter's weight at a distance.
    fileprivate func weight(_ x: Double) -> Double {
        func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
        let distance = abs(x)
        switch self {
        case .nearest, .box: return x > -0.5 && x <= 0.5 ? 1 : 0
        case .bilinear: return distance < 1 ? 1 - distance : 0
        case .hamming:
            return distance >= 1 ? 0 : sinc(distance) * (0.54 + 0.46 * cos(distance * .pi))
        case .bicubic:
            // Keys's kernel with a = −1/2.
            if distance < 1 { return (1.5 * distance - 2.5) * distance * distance + 1 }
            return distance < 2 ? ((2.5 - 0.5 * distance) * distance - 4) * distance + 2 : 0
        case .lanczos: return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0
        }
    }
}

/// The weights of one output pixel along one axis.
private struct Taps {
    let first: Int
    /// With 22 bits behind the point.
    let weights: [Int32]

    static let bits = 22

    /// For each of `target` pixels made of `source` ones: the filter is widened when the image shrinks.
    static func all(_ filter: Resampling, from source: Int, to target: Int) -> [Taps] {
        let scale = Double(source) / Double(target)
        let stretch = max(scale, 1)
        let support = filter.support * stretch
        return (0..<target).map { index in
            let center = (Double(index) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let end = min(Int(center + support + 0.5), source)
            var weights = (first..<max(end, first)).map {
                filter.weight((Double($0) - center + 0.5) * (1 / stretch))
            }
            let sum = weights.reduce(0, +)
            if sum != 0 { for index in weights.indices { weights[index] /= sum } }
            let one = Double(1 << bits)
            return Taps(first: first, weights: weights.map { Int32($0 < 0 ? $0 * one - 0.5 : $0 * one + 0.5) })
        }
    }

    /// The weighted sum of pixels, `stride` bytes apart, rounded and clipped.
    func sum(_ pixels: UnsafePointer<UInt8>, stride: Int) -> UInt8 {
        var total = Int32(1) << (Self.bits - 1)
        for (index, weight) in weights.enumerated() { total &+= Int32(pixels[(first + index) * stride]) &* weight }
        return UInt8(clamping: total >> Self.bits)
    }
}

extension PixelImage {
    /// The image in another size, byte for byte as Pillow before 13 makes it.
    ///
    /// It is resized along rows first, then along columns, and rounded to bytes in between.
    ///
    /// - Precondition: a size of at least one pixel.
    package func resized(width newWidth: Int, height newHeight: Int, _ filter: Resampling) -> PixelImage {
        precondition(newWidth > 0 && newHeight > 0, "resized: to \(newWidth)x\(newHeight)")
        if filter == .nearest { return nearest(newWidth, newHeight) }
        var image = self
        if newWidth != width {
            let taps = Taps.all(filter, from: width, to: newWidth)
            image = image.filled(newWidth, height) { source, x, y, channel in
                taps[x].sum(source + (y * width) * channels + channel, stride: channels)
            }
        }
        if newHeight != height {
            let taps = Taps.all(filter, from: height, to: newHeight)
            image = image.filled(newWidth, newHeight) { source, x, y, channel in
                taps[y].sum(source + x * channels + channel, stride: newWidth * channels)
            }
        }
        return image
    }

    private func nearest(_ newWidth: Int, _ newHeight: Int) -> PixelImage {
        // Added up step by step, as Pillow does: products would round elsewhere.
        func places(_ source: Int, _ target: Int) -> [Int] {
            let scale = Double(source) / Double(target)
            var place = scale * 0.5
            return (0..<target).map { _ in
                defer { place += scale }
                return min(Int(place), source - 1)
            }
        }
        let (columns, rows) = (places(width, newWidth), places(height, newHeight))
        return filled(newWidth, newHeight) { source, x, y, channel in
            source[(rows[y] * width + columns[x]) * channels + channel]
        }
    }

    private func filled(
        _ newWidth: Int, _ newHeight: Int, _ value: (UnsafePointer<UInt8>, _ x: Int, _ y: Int, _ channel: Int) -> UInt8
    ) -> PixelImage {
        let count = newWidth * newHeight * channels
        let filled = pixels.withUnsafeBufferPointer { source in
            [UInt8](unsafeUninitializedCapacity: count) { target, written in
                written = count
                guard let source = source.baseAddress else { return }
                var place = 0
                for y in 0..<newHeight {
                    for x in 0..<newWidth {
                        for channel in 0..<channels {
                            target[place] = value(source, x, y, channel)
                            place += 1
                        }
                    }
                }
            }
        }
        return PixelImage(width: newWidth, height: newHeight, channels: channels, pixels: filled)
    }
}
