import Foundation
import TestSupport
import Testing

@testable import TensorCore

@Suite struct CheckpointFilesTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func file(_ name: String) -> URL { folder.url.appending(path: name) }

    /// Ten tensors `t0`…`t9` of 1 to 10 floats.
    private static func withTensors(_ body: ([WeightSource]) throws -> Void) throws {
        let floats = (0..<10).map(Float.init)
        try floats.withUnsafeBufferPointer { buffer in
            try body(
                (0..<10).map { index in
                    WeightSource(
                        name: "t\(index)", shape: [index + 1], floats: UnsafeBufferPointer(rebasing: buffer[...index]))
                })
        }
    }

    private func writeShards(limit: Int = 60) throws -> [URL] {
        var written: [URL] = []
        try Self.withTensors { tensors in
            written = try SafetensorsWriter.writeCheckpoint(
                tensors, metadata: ["format": "pt"], to: folder.url, maximumShardByteCount: limit)
        }
        return written
    }

    private func opening() -> WeightFileError? {
        #expect(throws: WeightFileError.self) { try CheckpointFiles(folder.url) }
    }

    @Test func shardsHoldWhatWasWritten() throws {
        // 4+8+12+16+20 = 60; 24+28; 32; 36; 40.
        let written = try writeShards()
        #expect(
            written.map(\.lastPathComponent) == (1...5).map { "model-0000\($0)-of-00005.safetensors" } + [
                "model.safetensors.index.json"
            ])
        let checkpoint = try CheckpointFiles(folder.url)
        try checkpoint.verify()
        #expect(checkpoint.names == (0..<10).map { "t\($0)" })
        for index in 0..<10 {
            #expect(try checkpoint.entry("t\(index)") == WeightEntry(dtype: .float32, shape: [index + 1]))
            #expect(try checkpoint.floats(of: "t\(index)") == (0...index).map(Float.init))
            #expect(try checkpoint.directFloats(of: "t\(index)")?.count == index + 1)
        }
        #expect(checkpoint.contains("t3") && !checkpoint.contains("t10"))
        #expect(try checkpoint.file(of: "t5").metadata == ["format": "pt"])
        let json = try JSONSerialization.jsonObject(with: Data(contentsOf: written[5])) as? [String: [String: Any]]
        #expect(json?["metadata"]?["total_size"] as? Int == 220)
        #expect(
            json?["weight_map"] as? [String: String] == [
                "t0": "model-00001-of-00005.safetensors", "t1": "model-00001-of-00005.safetensors",
                "t2": "model-00001-of-00005.safetensors", "t3": "model-00001-of-00005.safetensors",
                "t4": "model-00001-of-00005.safetensors", "t5": "model-00002-of-00005.safetensors",
                "t6": "model-00002-of-00005.safetensors", "t7": "model-00003-of-00005.safetensors",
                "t8": "model-00004-of-00005.safetensors", "t9": "model-00005-of-00005.safetensors",
            ])
    }

    @Test func aSmallCheckpointIsOneFile() throws {
        #expect(try writeShards(limit: 220).map(\.lastPathComponent) == ["model.safetensors"])
        let checkpoint = try CheckpointFiles(folder.url)
        #expect(checkpoint.files.map(\.lastPathComponent) == ["model.safetensors"])
        #expect(try checkpoint.floats(of: "t2") == [0, 1, 2])
        #expect(try CheckpointFiles(file("model.safetensors")).names == checkpoint.names)
    }

    @Test func everyTensorHasAShardOfItsOwnWhenNoneFits() throws {
        #expect(try writeShards(limit: 1).count == 11)
        try CheckpointFiles(folder.url).verify()
    }

    @Test func shardsAreNotHiddenBehindAnOldFile() throws {
        _ = try writeShards(limit: 220)
        let error = #expect(throws: WeightFileError.self) { try writeShards() }
        #expect(error?.code == .invalidInput)
        #expect(try CheckpointFiles(folder.url).names.count == 10)
    }

    @Test func shardsCanBeWrittenAgain() throws {
        let first = try writeShards().map { try Data(contentsOf: $0) }
        #expect(try writeShards().map { try Data(contentsOf: $0) } == first)
    }

    @Test func otherStemsAreFound() throws {
        try Self.withTensors {
            try SafetensorsWriter.write($0, to: file("adapter_model.safetensors"))
        }
        #expect(try CheckpointFiles(folder.url, stem: "adapter_model").contains("t9"))
        #expect(opening()?.code == .notFound)
    }

    @Test func aMissingShardIsNamed() throws {
        try FileManager.default.removeItem(at: try writeShards()[1])
        let error = opening()
        #expect(error?.code == .notFound)
        #expect(error?.file.hasSuffix("model-00002-of-00005.safetensors") == true)
        #expect(error?.tensor == "t5")
    }

    @Test func aTensorThatIsNotInItsShardIsNamed() throws {
        let shard = try writeShards()[1]
        try Self.withTensors { try SafetensorsWriter.write([$0[6]], to: shard) }
        let checkpoint = try CheckpointFiles(folder.url)
        #expect(try checkpoint.floats(of: "t0") == [0])
        let error = #expect(throws: WeightFileError.self) { try checkpoint.floats(of: "t6") }
        #expect(error?.code == .inconsistentShards)
        #expect(error?.tensor == "t5")
        #expect(throws: WeightFileError.self) { try checkpoint.verify() }
    }

    @Test(arguments: [(0, "places it in model-00001"), (10, "does not list it")])
    func aTensorThatIsNotListedIsNamed(extra: Int, says: String) throws {
        let shard = try writeShards()[1]
        try Self.withTensors { tensors in
            let more = WeightSource(name: "t\(extra)", dtype: .uint8, shape: [0]) { _ in }
            try SafetensorsWriter.write([tensors[5], tensors[6], more], to: shard)
        }
        let error = #expect(throws: WeightFileError.self) { try CheckpointFiles(folder.url).verify() }
        #expect(error?.code == .inconsistentShards)
        #expect(error?.tensor == "t\(extra)")
        #expect(error?.message.contains(says) == true)
    }

    @Test func aTruncatedShardIsNamedWithItsTensor() throws {
        let shard = try writeShards()[2]
        let content = try Data(contentsOf: shard)
        try content.dropLast(5).write(to: shard)
        let error = #expect(throws: WeightFileError.self) { try CheckpointFiles(folder.url).floats(of: "t7") }
        #expect(error?.code == .truncated)
        #expect(error?.tensor == "t7")
        #expect(error?.description.contains("model-00003-of-00005.safetensors") == true)
    }

    @Test(arguments: [
        ("", "expected an object"), ("{}", "no \"weight_map\""), ("{\"weight_map\":{}}", "no \"weight_map\""),
        ("{\"weight_map\":{\"a\":1}}", "expected a string"), ("{\"weight_map\":{\"a\":\"x\"", "expected ',' or '}'"),
        ("{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"}}", "comes twice"),
        ("{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "not the name of a safetensors file"),
        ("{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", "not the name of a safetensors file"),
        ("{\"weight_map\":{\"a\":\"x.bin\"}}", "not the name of a safetensors file"),
    ])
    func aBrokenIndexIsRefused(text: String, says: String) throws {
        try Data(text.utf8).write(to: file("model.safetensors.index.json"))
        let error = opening()
        #expect(error?.code == .malformed)
        #expect(error?.message.contains(says) == true, "\(error?.message ?? "")")
        #expect(error?.file.hasSuffix("model.safetensors.index.json") == true)
    }

    @Test(arguments: ["pytorch_model.bin", "pytorch_model.bin.index.json"]) func aPickleIsNotRead(name: String) throws {
        try Data([0x80, 2]).write(to: file(name))
        let error = opening()
        #expect(error?.code == .unsupported)
        #expect(error?.description.contains(name) == true)
        #expect(error?.message.contains("pickle") == true)
        #expect(error?.message.contains("save_pretrained") == true)
    }

    @Test func anEmptyAndAnAbsentFolderAreTold() throws {
        let empty = opening()
        #expect(empty?.code == .notFound)
        #expect(empty?.message.contains("model.safetensors") == true)
        let absent = #expect(throws: WeightFileError.self) { try CheckpointFiles(file("absent")) }
        #expect(absent?.code == .notFound)
        #expect(absent?.message.contains("no such folder") == true)
    }
}
