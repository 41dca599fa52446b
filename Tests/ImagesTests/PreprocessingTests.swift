import Foundation
import TestSupport
import Testing

@testable import Images

@Suite struct PreprocessingTests {
    @Test(arguments: Resampling.allCases, ["rgb", "grey"])
    func resizesAsPillowDoes(filter: Resampling, name: String) throws {
        let image = try Expectation.image("\(name).png")
        let cases = try Expectation.all().filter {
            $0.key.hasPrefix("resized/\(name).png/") && $0.key.hasSuffix("/\(filter.rawValue)")
        }
        #expect(cases.count == 7)
        for (key, expected) in cases {
            let resized = image.resized(width: expected.width, height: expected.height, filter)
            #expect(Data(resized.pixels) == (name == "rgb" ? expected.rgb : expected.grey), "\(key)")
        }
    }

    private func preprocessor(_ text: String) throws -> ImagePreprocessor {
        try ImagePreprocessor(Data(text.utf8), path: "preprocessor_config.json")
    }

    @Test func preparesAsTransformersDoes() throws {
        let preprocessor = try preprocessor(
            """
            {"do_resize": true, "size": {"height": 16, "width": 16}, "resample": 3, "do_rescale": true,
             "rescale_factor": 0.00392156862745098, "do_normalize": true, "image_mean": [0.485, 0.456, 0.406],
             "image_std": [0.229, 0.224, 0.225], "image_processor_type": "ViTImageProcessor"}
            """)
        let image = try preprocessor.resized(Expectation.image("rgb.png"), channels: 3)
        let floats = try #require(Expectation.all()["prepared"]?.floats)
        let expected = floats.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        let got = preprocessor.normalized(image)
        #expect(got.count == expected.count)
        #expect(zip(got, expected).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(throws: ImageError.self) { try preprocessor.resized(image, channels: 1) }
    }

    @Test func absentKeysAreViTs() throws {
        let preprocessor = try preprocessor("{}")
        #expect(preprocessor.size == .init(width: 224, height: 224) && preprocessor.resampling == .bilinear)
        #expect(preprocessor.scale == 1 / 255 && preprocessor.mean == [0.5] && preprocessor.deviation == [0.5])
        #expect(try self.preprocessor(#"{"size": 32}"#).size == .init(width: 32, height: 32))
        let plain = try self.preprocessor(#"{"do_resize": false, "do_rescale": false, "do_normalize": false}"#)
        let image = PixelImage(width: 2, height: 1, channels: 3, pixels: [1, 2, 3, 4, 5, 6])
        #expect(try plain.resized(image, channels: 3) == image)
        #expect(plain.normalized(image) == [1, 4, 2, 5, 3, 6])
    }

    @Test(
        arguments: [
            (#"{"do_center_crop": true}"#, ImageError.Code.unsupported, "do_center_crop"),
            (#"{"size": {"shortest_edge": 224}}"#, .unsupported, "shorter"),
            (#"{"resample": 9}"#, .unsupported, "resample 9"), (#"{"size": -1}"#, .malformed, "size"),
            (#"{"size": {"height": 2}}"#, .malformed, "size"), (#"{"image_mean": "x"}"#, .malformed, "image_mean"),
            (#"{"image_std": [0]}"#, .malformed, "image_std"), (#"{"do_resize": 3}"#, .malformed, "do_resize"),
            (#"{"image_mean": [0.5, 0.5]}"#, .malformed, "as many"), ("[]", .malformed, "JSON object"),
        ] as [(String, ImageError.Code, String)])
    func whatIsNotBuiltIsRefused(text: String, code: ImageError.Code, word: String) {
        let error = #expect(throws: ImageError.self) { try preprocessor(text) }
        #expect(error?.code == code && error?.description.contains(word) == true, "\(String(describing: error))")
    }

    @Test func aMissingFileIsNamed() throws {
        let folder = try TemporaryFolder()
        let error = #expect(throws: ImageError.self) { try ImagePreprocessor(folder: folder.url) }
        #expect(error?.code == .incomplete && error?.description.contains("preprocessor_config.json") == true)
    }
}
