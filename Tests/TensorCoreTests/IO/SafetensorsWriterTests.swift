import Foundation
import TestSupport
import Testing

@testable import TensorCore

@Suite struct SafetensorsWriterTests {
    private let folder: TemporaryFolder
    private var url: URL { folder.url.appending(path: "weights.safetensors") }

    init() throws { folder = try TemporaryFolder() }

    private func source(_ name: String, _ dtype: DType, _ shape: [Int], _ bytes: [UInt8]) -> WeightSource {
        WeightSource(name: name, dtype: dtype, shape: shape) { sink in try bytes.withUnsafeBytes { try sink($0) } }
    }

    @Test(arguments: DType.allCases) func everyTypeSurvivesARoundTrip(dtype: DType) throws {
        let content = (0..<6 * dtype.byteCount).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
        let tensors = [
            source("matrix", dtype, [2, 3], content),
            source("scalar", dtype, [], Array(content.prefix(dtype.byteCount))),
            source("empty", dtype, [4, 0], []),
        ]
        try SafetensorsWriter.write(tensors, metadata: ["format": "pt"], to: url)
        let file = try SafetensorsFile(url)
        #expect(file.names == ["empty", "matrix", "scalar"])
        #expect(file.metadata == ["format": "pt"])
        #expect(try file.entry("matrix") == WeightEntry(dtype: dtype, shape: [2, 3]))
        #expect(try file.entry("scalar").shape == [])
        #expect(try file.entry("empty").count == 0)
        #expect(try file.copy(of: "matrix") == content)
        #expect(try file.copy(of: "scalar") == Array(content.prefix(dtype.byteCount)))
        #expect(try file.bytes(of: "empty").isEmpty)
    }

    @Test func layoutIsThatOfTheReferenceWriter() throws {
        // The header that safetensors 0.8 writes for these tensors.
        let expected = """
            {"__metadata__":{"format":"pt"},\
            "b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},\
            "a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},\
            "a.b":{"dtype":"F32","shape":[1],"data_offsets":[16,20]},\
            "c":{"dtype":"BF16","shape":[1],"data_offsets":[20,22]},\
            "0":{"dtype":"F16","shape":[1],"data_offsets":[22,24]},\
            "z":{"dtype":"U8","shape":[],"data_offsets":[24,25]},\
            "y":{"dtype":"BOOL","shape":[1],"data_offsets":[25,26]}}
            """
        let tensors = [
            source("y", .bool, [1], [1]), source("c", .bfloat16, [1], [2, 3]),
            source("a.b", .float32, [1], [4, 5, 6, 7]), source("z", .uint8, [], [8]),
            source("0", .float16, [1], [9, 10]), source("b", .int64, [1], Array(11...18)),
            source("a", .float32, [2], Array(19...26)),
        ]
        try SafetensorsWriter.write(tensors, metadata: ["format": "pt"], to: url)
        let written = try Data(contentsOf: url)
        let padded = expected + String(repeating: " ", count: (8 - expected.utf8.count % 8) % 8)
        let data = Array(11...18) + Array(19...26) + [4, 5, 6, 7, 2, 3, 9, 10, 8, 1] as [UInt8]
        #expect(written == safetensors(padded, data: data))

        try SafetensorsWriter.write(tensors.reversed(), metadata: ["format": "pt"], to: url)
        #expect(try Data(contentsOf: url) == written)
    }

    @Test func dataBeginsAtAMultipleOfEight() throws {
        for length in 1...9 {
            let name = String(repeating: "n", count: length)
            try SafetensorsWriter.write([source(name, .float32, [1], [0, 0, 128, 63])], to: url)
            let written = try Data(contentsOf: url)
            #expect((written.count - 4) % 8 == 0)
            let file = try SafetensorsFile(url)
            #expect(try file.isDirectlyUsable(name))
            #expect(try file.directCopy(of: name) == [1])
            #expect(file.metadata.isEmpty)
        }
    }

    @Test func namesAndMetadataOfAnyTextSurvive() throws {
        let strings = [
            "quote\"back\\slash/", "line\nreturn\rtab\tbell\u{07}\u{08}\u{0c}\u{00}", "Äpfel 😀 \u{2028}\u{7f}", "",
        ]
        let tensors = strings.enumerated().map { source($1, .uint8, [1], [UInt8($0)]) }
        try SafetensorsWriter.write(
            tensors, metadata: Dictionary(uniqueKeysWithValues: zip(strings, strings.reversed())), to: url)
        let file = try SafetensorsFile(url)
        #expect(file.names == strings.sorted())
        for (index, string) in strings.enumerated() {
            #expect(try file.copy(of: string) == [UInt8(index)])
            #expect(file.metadata[string] == strings.reversed()[index])
        }
    }

    @Test func floatsAreStoredAsAsked() throws {
        // More than one piece of the streaming conversion.
        let floats = (0..<600_001).map { Float($0 % 4099) * 0.37 - 700 }
        try floats.withUnsafeBufferPointer { buffer in
            let tensors = [DType.float32, .float16, .bfloat16, .float64].map {
                WeightSource(name: $0.rawValue, shape: [600_001], floats: buffer, as: $0)
            }
            try SafetensorsWriter.write(tensors, to: url)
        }
        let file = try SafetensorsFile(url)
        #expect(try file.floats(of: "F32") == floats)
        #expect(try file.floats(of: "F64") == floats)
        #expect(try file.floats(of: "F16") == floats.map { Float(Float16($0)) })
        let nearest = try file.floats(of: "BF16")
        #expect(zip(nearest, floats).allSatisfy { abs($0 - $1) <= abs($1) * 0x1p-8 })
        #expect(nearest != floats)
    }

    @Test func refusesWhatCannotBeWritten() throws {
        func refused(_ tensors: [WeightSource]) -> WeightFileError? {
            #expect(throws: WeightFileError.self) { try SafetensorsWriter.write(tensors, to: url) }
        }
        #expect(refused([source("a", .uint8, [1], [1]), source("a", .uint8, [1], [1])])?.code == .invalidInput)
        #expect(refused([source("a", .float32, [2], [1, 2, 3, 4])])?.code == .invalidInput)
        #expect(refused([source("a", .float32, [1], [1, 2, 3, 4, 5])])?.code == .invalidInput)
        #expect(refused([source("a", .float32, [-1], [])])?.code == .invalidInput)
        #expect(refused([source("a", .float32, [Int.max, 2], [])])?.code == .invalidInput)
        #expect(refused([source("__metadata__", .uint8, [1], [1])])?.tensor == "__metadata__")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    }

    @Test func aFailureLeavesTheOldFile() throws {
        struct Interrupted: Error {}
        try SafetensorsWriter.write([source("a", .uint8, [1], [7])], to: url)
        let before = try Data(contentsOf: url)
        let failing = WeightSource(name: "a", dtype: .uint8, shape: [2]) { sink in
            try [UInt8(1)].withUnsafeBytes { try sink($0) }
            throw Interrupted()
        }
        #expect(throws: Interrupted.self) { try SafetensorsWriter.write([failing], to: url) }
        #expect(try Data(contentsOf: url) == before)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["weights.safetensors"])
    }

    @Test func anOpenFileKeepsItsContentWhenReplaced() throws {
        try SafetensorsWriter.write([source("a", .uint8, [1], [7])], to: url)
        let old = try SafetensorsFile(url)
        try SafetensorsWriter.write([source("a", .uint8, [1], [8])], to: url)
        let new = try SafetensorsFile(url)
        #expect(try old.copy(of: "a") == [7])
        #expect(try new.copy(of: "a") == [8])
    }

    @Test func aMissingFolderIsNamed() throws {
        let nowhere = folder.url.appending(path: "absent/weights.safetensors")
        let error = #expect(throws: WeightFileError.self) { try SafetensorsWriter.write([], to: nowhere) }
        #expect(error?.code == .system)
        #expect(error?.file == nowhere.path)
    }
}
