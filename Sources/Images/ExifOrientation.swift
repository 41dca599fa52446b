/// How a camera was held, as the tag Orientation (0x0112) of an Exif block says (CIPA DC-008, 4.6.4).
enum ExifOrientation: Int {
    case upright = 1
    case mirrored, upsideDown, flipped, transposed, quarterLeft, transversed, quarterRight

    /// What a block says; upright where it says nothing, or nothing that can be read.
    init(exif bytes: [UInt8]) {
        self = Self.value(in: bytes).flatMap(ExifOrientation.init(rawValue:)) ?? .upright
    }

    private static func value(in bytes: [UInt8]) -> Int? {
        let isLittle: Bool
        switch bytes.prefix(4) {
        case [0x49, 0x49, 0x2A, 0x00]: isLittle = true
        case [0x4D, 0x4D, 0x00, 0x2A]: isLittle = false
        default: return nil
        }
        func number(_ offset: Int, _ size: Int) -> Int? {
            guard offset >= 0, offset + size <= bytes.count else { return nil }
            let part = bytes[offset..<offset + size]
            return (isLittle ? part.reversed() : Array(part)).reduce(0) { $0 << 8 | Int($1) }
        }
        guard let directory = number(4, 4), let entries = number(directory, 2) else { return nil }
        for entry in 0..<entries {
            let offset = directory + 2 + 12 * entry
            // One number of two bytes, at the start of the value's four.
            if number(offset, 2) == 0x0112 { return number(offset + 2, 2) == 3 ? number(offset + 8, 2) : nil }
        }
        return nil
    }

    /// Whether width and height change places.
    var isTransposed: Bool { rawValue >= Self.transposed.rawValue }

    /// Which pixel of the stored image is seen at a place of the upright one, whose sizes are given.
    func source(x: Int, y: Int, width: Int, height: Int) -> (x: Int, y: Int) {
        let (right, bottom) = (width - 1 - x, height - 1 - y)
        return switch self {
        case .upright: (x, y)
        case .mirrored: (right, y)
        case .upsideDown: (right, bottom)
        case .flipped: (x, bottom)
        case .transposed: (y, x)
        case .quarterLeft: (y, right)
        case .transversed: (bottom, right)
        case .quarterRight: (bottom, x)
        }
    }
}
