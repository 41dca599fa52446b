import Foundation
import TestSupport
import Testing

@testable import TensorCore

/// Files that other programs wrote.
@Suite struct PublishedWeightsTests {
    private static func safetensorsFiles(below folder: URL) -> [URL] {
        let enumerator = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        return (enumerator?.compactMap { $0 as? URL } ?? []).filter { $0.pathExtension == "safetensors" }
    }

    @Test func everyGoldenFileOpensAndReads() throws {
        guard let folder = try TestData.folder("golden") else { return }
        let files = Self.safetensorsFiles(below: folder)
        #expect(files.count > 100)
        for url in files {
            let file = try SafetensorsFile(url)
            #expect(!file.names.isEmpty, "\(file.path)")
            for name in file.names {
                let entry = try file.entry(name)
                #expect(try file.copy(of: name).count == entry.byteCount)
                guard entry.dtype.isFloatingPoint else { continue }
                #expect(try file.floats(of: name).count == entry.count)
            }
        }
    }

    /// A file of one element type and one metadata entry has one possible layout, so that it can be written again
    /// to the byte.
    @Test func goldenAdaptersAreWrittenAgainToTheByte() throws {
        guard let folder = try TestData.folder("golden/peft-adapters") else { return }
        let scratch = try TemporaryFolder()
        let copy = scratch.url.appending(path: "copy.safetensors")
        let files = Self.safetensorsFiles(below: folder).filter { $0.lastPathComponent == "adapter_model.safetensors" }
        #expect(files.count > 20)
        for url in files {
            let file = try SafetensorsFile(url)
            let tensors = try file.names.map { try WeightSource(copying: $0, from: file) }
            try SafetensorsWriter.write(tensors, metadata: file.metadata, to: copy)
            #expect(try Data(contentsOf: copy) == Data(contentsOf: url), "\(file.path)")
        }
    }

    @Test func shardedEqualsWhole() throws {
        guard let models = try TestData.folder("models") else { return }
        let whole = try CheckpointFiles(models.appending(path: "stories260K"))
        let sharded = try CheckpointFiles(models.appending(path: "stories260K-sharded"))
        try sharded.verify()
        #expect(sharded.files.count == 3)
        #expect(sharded.names == whole.names)
        for name in whole.names {
            #expect(try sharded.entry(name) == whole.entry(name))
            #expect(try sharded.floats(of: name) == whole.floats(of: name), "\(name)")
        }
    }

    /// The narrower copies were made by rounding the F32 one to nearest, ties to even.
    @Test(arguments: [("stories260K-float16", DType.float16), ("stories260K-bfloat16", .bfloat16)])
    func narrowCopiesEqualTheRoundedOriginal(folder: String, dtype: DType) throws {
        guard let models = try TestData.folder("models") else { return }
        let wide = try CheckpointFiles(models.appending(path: "stories260K"))
        let narrow = try CheckpointFiles(models.appending(path: folder))
        #expect(narrow.names == wide.names)
        for name in wide.names {
            #expect(try narrow.entry(name).dtype == dtype)
            let floats = try wide.floats(of: name)
            var rounded = [UInt8](repeating: 0, count: floats.count * 2)
            rounded.withUnsafeMutableBytes { bytes in
                floats.withUnsafeBufferPointer { FloatConversion.write($0, as: dtype, into: bytes) }
            }
            #expect(try narrow.file(of: name).copy(of: name) == rounded, "\(name)")
        }
    }
}
