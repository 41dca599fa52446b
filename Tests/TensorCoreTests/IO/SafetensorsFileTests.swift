import Foundation
import TestSupport
import Testing

@testable import TensorCore

@Suite struct SafetensorsFileTests {
    private let folder: TemporaryFolder
    private var url: URL { folder.url.appending(path: "weights.safetensors") }

    init() throws { folder = try TemporaryFolder() }

    private func open(_ content: Data) throws -> SafetensorsFile {
        try content.write(to: url)
        return try SafetensorsFile(url)
    }

    struct Malformed: CustomTestStringConvertible {
        let testDescription: String
        let content: Data
        let code: WeightFileError.Code
        /// A part of the message.
        let says: String
        let tensor: String?

        init(_ what: String, _ content: Data, _ code: WeightFileError.Code, _ says: String, tensor: String? = nil) {
            (testDescription, self.content, self.code, self.says, self.tensor) = (what, content, code, says, tensor)
        }

        /// One F32 tensor `t`, whose member of the header is `fields`.
        static func entry(
            _ what: String, _ fields: String, data: Int = 8, _ code: WeightFileError.Code = .malformed, _ says: String
        ) -> Malformed {
            Malformed(
                what, safetensors("{\"t\":{\(fields)}}", data: Array(repeating: 0, count: data)), code, says,
                tensor: "t")
        }
    }

    private static let f32 = "\"dtype\":\"F32\",\"shape\""

    static let malformed: [Malformed] = [
        Malformed("empty file", Data(), .truncated, "it has 0 bytes"),
        Malformed("seven bytes", Data(repeating: 2, count: 7), .truncated, "it has 7 bytes"),
        Malformed("header beyond the end", safetensors("{}", length: 3), .truncated, "bytes 8..<11, the file has 10"),
        Malformed("header over the limit", safetensors("{}", length: 100_000_001), .malformed, "100000001"),
        Malformed("header length with the top bit", safetensors("{}", length: .max), .malformed, "\(UInt64.max)"),
        Malformed("empty header", safetensors(""), .malformed, "expected '{'"),
        Malformed("white space first", safetensors(" {}"), .malformed, "expected '{'"),
        Malformed("not JSON", safetensors("{nonsense}"), .malformed, "byte 9"),
        Malformed("JSON of another kind", safetensors("[]"), .malformed, "expected '{'"),
        Malformed("text after the header", safetensors("{} x"), .malformed, "something follows"),
        Malformed("header not closed", safetensors("{\"t\":{"), .malformed, "expected a string", tensor: "t"),
        Malformed(
            "name of invalid UTF-8", safetensors(Array("{\"".utf8) + [0xff, 0xfe] + Array("\":{}}".utf8)), .malformed,
            "not valid UTF-8"),
        Malformed("half a surrogate pair", safetensors("{\"\\ud800\":{}}"), .malformed, "surrogate"),
        Malformed("control character", safetensors("{\"a\nb\":{}}"), .malformed, "control character"),
        Malformed(
            "metadata that is no string", safetensors("{\"__metadata__\":{\"a\":1}}"), .malformed, "expected a string",
            tensor: "__metadata__"),
        Malformed(
            "bytes after the last tensor", safetensors("{}", data: [1, 2, 3]), .malformed,
            "3 bytes after its last tensor"),
        Malformed(
            "deep nesting", safetensors("{\"t\":{\"x\":" + String(repeating: "[", count: 100_000) + "}}"), .malformed,
            "nested", tensor: "t"),
        Malformed(
            "name twice",
            safetensors(
                "{\"t\":{\(f32):[1],\"data_offsets\":[0,4]},\"t\":{\(f32):[1],\"data_offsets\":[4,8]}}",
                data: Array(repeating: 0, count: 8)), .malformed, "\"t\" comes twice"),
        Malformed(
            "overlap",
            safetensors(
                "{\"a\":{\(f32):[2],\"data_offsets\":[0,8]},\"t\":{\(f32):[2],\"data_offsets\":[4,12]}}",
                data: Array(repeating: 0, count: 12)), .malformed, "overlaps tensor a", tensor: "t"),
        Malformed(
            "same bytes twice",
            safetensors(
                "{\"a\":{\(f32):[1],\"data_offsets\":[0,4]},\"t\":{\(f32):[1],\"data_offsets\":[0,4]}}",
                data: Array(repeating: 0, count: 4)), .malformed, "overlaps tensor a", tensor: "t"),
        Malformed(
            "gap",
            safetensors(
                "{\"a\":{\(f32):[1],\"data_offsets\":[0,4]},\"t\":{\(f32):[1],\"data_offsets\":[8,12]}}",
                data: Array(repeating: 0, count: 12)), .malformed, "gap of 4 bytes after tensor a", tensor: "t"),
        .entry("gap at the start", "\(f32):[1],\"data_offsets\":[4,8]", .malformed, "after the header"),
        .entry(
            "value that is no object", "\(f32):[2],\"data_offsets\":[0,8]},\"u\":[1", .malformed, "expected an object"
        )
        .about("u"),
        .entry("unknown type", "\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]", .unsupported, "F8_E4M3"),
        .entry("type in lower case", "\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]", .unsupported, "f32"),
        .entry("type that is a number", "\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]", "expected a string"),
        .entry("no type", "\"shape\":[2],\"data_offsets\":[0,8]", "no dtype"),
        .entry("no shape, no offsets", "\"dtype\":\"F32\"", "no shape, no data_offsets"),
        .entry("a key twice", "\(f32):[2],\"shape\":[2],\"data_offsets\":[0,8]", "\"shape\" comes twice"),
        .entry("negative size", "\(f32):[-2],\"data_offsets\":[0,8]", "not negative"),
        .entry("size with a fraction", "\(f32):[2.0],\"data_offsets\":[0,8]", "whole number"),
        .entry("size with an exponent", "\(f32):[2e0],\"data_offsets\":[0,8]", "whole number"),
        .entry("size with a leading zero", "\(f32):[02],\"data_offsets\":[0,8]", "whole number"),
        .entry("size beyond 64 bits", "\(f32):[99999999999999999999],\"data_offsets\":[0,8]", "too large"),
        .entry("huge size", "\(f32):[\(Int.max)],\"data_offsets\":[0,8]", "too large to be true"),
        .entry("overflow in the product", "\(f32):[4294967296,4294967296,1],\"data_offsets\":[0,0]", "too large"),
        .entry("overflow, then zero", "\(f32):[4294967296,4294967296,0],\"data_offsets\":[0,0]", "too large"),
        .entry("shape larger than the range", "\(f32):[3],\"data_offsets\":[0,8]", "takes 12 bytes"),
        .entry("shape smaller than the range", "\(f32):[1],\"data_offsets\":[0,8]", "takes 4 bytes"),
        .entry("offsets reversed", "\(f32):[2],\"data_offsets\":[8,0]", "not a begin and an end"),
        .entry("one offset", "\(f32):[2],\"data_offsets\":[8]", "not a begin and an end"),
        .entry("three offsets", "\(f32):[2],\"data_offsets\":[0,8,8]", "not a begin and an end"),
        .entry("data cut off", "\(f32):[2],\"data_offsets\":[0,8]", data: 7, .truncated, "ends early: it needs bytes"),
        .entry(
            "offsets near the largest integer", "\(f32):[2],\"data_offsets\":[\(Int.max - 8),\(Int.max)]", .truncated,
            "ends early"),
        Malformed(
            "Git LFS pointer", Data("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".utf8),
            .malformed, "git lfs pull"),
        Malformed("zip", Data([0x50, 0x4b, 3, 4, 0, 0, 0, 0, 0, 0]), .unsupported, "pickles are not read"),
    ]

    @Test(arguments: malformed) func malformedFilesAreRefused(_ malformed: Malformed) throws {
        let error = #expect(throws: WeightFileError.self) { try open(malformed.content) }
        #expect(error?.code == malformed.code)
        #expect(error?.tensor == malformed.tensor)
        #expect(error?.description.contains("weights.safetensors") == true)
        #expect(error?.message.contains(malformed.says) == true, "\(error?.message ?? "")")
    }

    @Test func theEndOfATruncatedFileIsTold() throws {
        let header = "{\"X\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"
        let error = #expect(throws: WeightFileError.self) {
            try open(safetensors(header, data: [1, 2, 3]))
        }
        let begin = 8 + header.utf8.count
        #expect(
            error?.description.hasSuffix(
                "tensor X: the file ends early: it needs bytes \(begin)..<\(begin + 16), the file has \(begin + 3)")
                == true)
    }

    @Test func unusualButRightFilesAreRead() throws {
        // White space, members in another order, unknown members, escapes, empty tensors, space after the header.
        let file = try open(
            safetensors(
                """
                {"e" : {"data_offsets":[4,4], "shape":[0,7],"dtype":"I64", "note":{"a":[1.5e-3,null,true,"x"]}},
                "\\u00e4\\ud83d\\ude00\\/":{"dtype":"F32","shape":[],"data_offsets":[0,4]}} \n
                """, data: [0, 0, 0, 0xc0]))
        #expect(file.names == ["e", "ä😀/"])
        #expect(try file.floats(of: "ä😀/") == [-2])
        #expect(try file.entry("e") == WeightEntry(dtype: .int64, shape: [0, 7]))
        #expect(try file.bytes(of: "e").isEmpty)
        #expect(try open(safetensors("{}")).names.isEmpty)
    }

    @Test(arguments: 0..<4) func misalignedDataIsReadByCopy(padding: Int) throws {
        let values: [Float] = [1.5, -3, 0x1p-140, .infinity]
        let header = "{\"t\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"
        let aligned = header + String(repeating: " ", count: (4 - header.utf8.count % 4) % 4 + padding)
        let file = try open(safetensors(aligned, data: values.withUnsafeBytes { Array($0) }))
        #expect(try file.isDirectlyUsable("t") == (padding == 0))
        #expect(try file.directCopy(of: "t") == (padding == 0 ? values : nil))
        #expect(try file.floats(of: "t") == values)
    }

    @Test func readingChecksTheRequest() throws {
        let file = try open(
            safetensors(
                "{\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}"
                    + ",\"f\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", data: Array(1...8)))
        var buffer: [Float] = [0, 0]
        let integers = #expect(throws: WeightFileError.self) { try file.floats(of: "i") }
        #expect(integers?.code == .mismatch)
        let count = #expect(throws: WeightFileError.self) {
            try buffer.withUnsafeMutableBufferPointer { try file.readFloats("f", into: $0) }
        }
        #expect(count?.code == .mismatch)
        #expect(try file.directFloats(of: "i") == nil)
        let absent = #expect(throws: WeightFileError.self) { try file.entry("g") }
        #expect(absent?.code == .noSuchTensor)
        #expect(absent?.tensor == "g")
    }

    @Test func whatIsNoFileIsTold() throws {
        let missing = #expect(throws: WeightFileError.self) { try SafetensorsFile(folder.url.appending(path: "no")) }
        #expect(missing?.code == .notFound)
        let directory = #expect(throws: WeightFileError.self) { try SafetensorsFile(folder.url) }
        #expect(directory?.code == .system)
        #expect(directory?.message.contains("not a regular file") == true)
    }

    @Test func anEmptyFileCanBeMapped() throws {
        try Data().write(to: url)
        #expect(try MappedFile(url).bytes.isEmpty)
    }
}

extension SafetensorsFileTests.Malformed {
    fileprivate static func entry(_ what: String, _ fields: String, _ says: String) -> Self {
        entry(what, fields, .malformed, says)
    }

    fileprivate func about(_ tensor: String) -> Self {
        Self(testDescription, content, code, says, tensor: tensor)
    }
}
