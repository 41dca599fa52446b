import Foundation
import TestSupport
import Testing

@testable import Images

/// What Pillow made of the images in `Fixtures/images`; see `Tests/Reference/image_fixtures.py`.
struct Expectation: Decodable {
    let width: Int
    let height: Int
    let rgb: Data?
    let grey: Data?
    let floats: Data?

    /// By the name of the file, or what was done to it.
    static func all() throws -> [String: Expectation] {
        let file = try Fixtures.folder("images/expected.json")
        return try JSONDecoder().decode([String: Expectation].self, from: Data(contentsOf: file))
    }

    static func image(_ name: String) throws -> PixelImage {
        try PixelImage(contentsOf: Fixtures.folder("images/\(name)"))
    }
}

@Suite struct DecodingTests {
    static let files =
        [
            "rgb.png", "grey.png", "alpha.png", "grey-alpha.png", "palette.png", "palette-transparent.png", "bits.png",
            "grey-transparent.png", "grey-16.png", "rgb.jpg", "rgb-420.jpg", "rgb-422.jpg", "progressive.jpg",
            "grey.jpg",
            "inks.jpg", "turned-6.png",
        ] + (1...8).map { "turned-\($0).jpg" }

    @Test(arguments: files) func decodesAsPillowDoes(name: String) throws {
        let expected = try #require(Expectation.all()[name])
        let image = try Expectation.image(name)
        #expect(image.width == expected.width && image.height == expected.height)
        #expect(Data(image.converted(channels: 3).pixels) == expected.rgb)
        #expect(Data(image.converted(channels: 3).converted(channels: 1).pixels) == expected.grey)
    }

    @Test func everyFixtureIsRead() throws {
        let folder = try Fixtures.folder("images")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { !$0.hasSuffix(".json") }
        #expect(Set(names) == Set(Self.files))
    }

    /// A file that ends early is an error wherever it is cut, and never half an image.
    @Test(arguments: ["rgb.png", "palette.png", "rgb.jpg", "progressive.jpg", "inks.jpg"])
    func whatEndsEarlyIsRefused(name: String) throws {
        let data = try Data(contentsOf: Fixtures.folder("images/\(name)"))
        // The last bytes are the end marker and the last of the pixels.
        for length in stride(from: 0, to: data.count - 20, by: 7) {
            let error = #expect(throws: ImageError.self) { try PixelImage(decoding: data.prefix(length), path: name) }
            #expect(error?.code == .malformed && error?.description.contains(name) == true)
        }
    }

    /// Damage gives an error or an image of whatever is there, and nothing else.
    @Test(arguments: files) func damageIsSurvived(name: String) throws {
        let data = try Data(contentsOf: Fixtures.folder("images/\(name)"))
        var state: UInt64 = 88_172_645_463_325_252
        for _ in 0..<60 {
            var damaged = data
            for _ in 0..<3 {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                damaged[Int(state % UInt64(data.count))] = UInt8(truncatingIfNeeded: state >> 32)
            }
            do {
                let image = try PixelImage(decoding: damaged, path: name)
                #expect(image.pixels.count == image.width * image.height * image.channels)
            } catch is ImageError {}
        }
    }

    @Test func whatIsNoImageIsRefused() throws {
        for bytes in [Data(), Data("GIF89a".utf8), Data([0xFF, 0xD8]), Data([0x89, 0x50, 0x4E, 0x47])] {
            let error = #expect(throws: ImageError.self) { try PixelImage(decoding: bytes, path: "a/b.png") }
            #expect(error?.code == .malformed && error?.description.contains("a/b.png") == true)
        }
        let missing = #expect(throws: ImageError.self) { try PixelImage(contentsOf: URL(filePath: "/no/such.png")) }
        #expect(missing?.code == .incomplete)
    }

    /// A header that promises an enormous image costs nothing.
    @Test func enormousImagesAreRefused() throws {
        var data = try Data(contentsOf: Fixtures.folder("images/rgb.jpg"))
        let frame = try #require(data.range(of: Data([0xFF, 0xC0])))
        data.replaceSubrange(frame.lowerBound + 5..<frame.lowerBound + 9, with: [0xFF, 0xDC, 0xFF, 0xDC])
        let error = #expect(throws: ImageError.self) { try PixelImage(decoding: data, path: "large.jpg") }
        #expect(error?.description.contains("too many pixels") == true)
    }

    @Test func brokenExifIsUpright() {
        let tags: [[UInt8]] = [
            [], [0x49, 0x49, 0x2A, 0x00], [0x4D, 0x4D, 0, 0x2A, 0xFF, 0xFF, 0xFF, 0xFF],
            [0x49, 0x49, 0x2A, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 9, 0, 0, 0],
            [0x49, 0x49, 0x2A, 0, 8, 0, 0, 0, 0xFF, 0xFF],
        ]
        for bytes in tags { #expect(ExifOrientation(exif: bytes) == .upright) }
        let good: [UInt8] = [0x4D, 0x4D, 0, 0x2A, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0]
        #expect(ExifOrientation(exif: good) == .quarterRight)
    }
}
