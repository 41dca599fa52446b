import Foundation
import Testing

/// A GGUF file, read by the format's description alone.
struct GGUFReader {
    enum Value: Equatable {
        case number(Double)
        case bool(Bool)
        case text(String)
        case list([Value])

        var texts: [String] {
            guard case .list(let values) = self else { return [] }
            return values.compactMap { if case .text(let text) = $0 { text } else { nil } }
        }

        var numbers: [Double] {
            guard case .list(let values) = self else { return [] }
            return values.compactMap { if case .number(let number) = $0 { number } else { nil } }
        }
    }

    struct Tensor {
        /// Outermost first.
        let shape: [Int]
        /// ggml's number.
        let type: Int
        let values: [Float]
    }

    struct Malformed: Error {
        let what: String
    }

    private(set) var metadata: [String: Value] = [:]
    private(set) var tensors: [String: Tensor] = [:]
    private(set) var names: [String] = []

    init(_ file: URL) throws {
        let data = try Data(contentsOf: file)
        var cursor = Cursor(data: data)
        guard cursor.take(4) == Data("GGUF".utf8), cursor.integer(UInt32.self) == 3 else {
            throw Malformed(what: "it does not begin as a GGUF file of version 3")
        }
        let count = Int(cursor.integer(UInt64.self)), keys = Int(cursor.integer(UInt64.self))
        for _ in 0..<keys {
            let key = cursor.text()
            guard metadata.updateValue(try cursor.value(cursor.integer(UInt32.self)), forKey: key) == nil else {
                throw Malformed(what: "\(key) comes twice")
            }
        }
        var entries: [(name: String, shape: [Int], type: Int, offset: Int)] = []
        for _ in 0..<count {
            let name = cursor.text()
            let axes = Int(cursor.integer(UInt32.self))
            let shape = (0..<axes).map { _ in Int(cursor.integer(UInt64.self)) }
            entries.append(
                (name, shape.reversed(), Int(cursor.integer(UInt32.self)), Int(cursor.integer(UInt64.self))))
        }
        let start = (cursor.offset + 31) / 32 * 32
        var end = start
        for entry in entries {
            guard entry.offset % 32 == 0, start + entry.offset == (end + 31) / 32 * 32 else {
                throw Malformed(what: "\(entry.name) does not begin where the one before it ends")
            }
            var values: [Float] = []
            var place = Cursor(data: data, offset: start + entry.offset)
            let size = entry.shape.reduce(1, *)
            switch entry.type {
            case 0: for _ in 0..<size { values.append(Float(bitPattern: place.integer(UInt32.self))) }
            case 1: for _ in 0..<size { values.append(Self.half(place.integer(UInt16.self))) }
            case 8:
                for _ in 0..<size / 32 {
                    let scale = Self.half(place.integer(UInt16.self))
                    for _ in 0..<32 { values.append(scale * Float(place.integer(Int8.self))) }
                }
            default: throw Malformed(what: "\(entry.name) is of the type \(entry.type)")
            }
            end = place.offset
            tensors[entry.name] = Tensor(shape: entry.shape, type: entry.type, values: values)
            names.append(entry.name)
        }
        guard data.count == (end + 31) / 32 * 32 else {
            throw Malformed(what: "\(data.count - end) bytes are left over")
        }
    }

    /// IEEE binary16.
    private static func half(_ bits: UInt16) -> Float {
        let sign: Float = bits & 0x8000 == 0 ? 1 : -1
        let exponent = Int(bits >> 10 & 31), fraction = Float(bits & 1023)
        if exponent == 0 { return sign * fraction * 0x1p-24 }
        return sign * (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
    }

    private struct Cursor {
        let data: Data
        var offset = 0

        mutating func take(_ count: Int) -> Data {
            defer { offset += count }
            return data[offset..<offset + count]
        }

        mutating func integer<Integer: FixedWidthInteger>(_: Integer.Type) -> Integer {
            let bytes = take(MemoryLayout<Integer>.size)
            return bytes.reversed().reduce(0) { $0 << 8 | Integer(truncatingIfNeeded: $1) }
        }

        mutating func text() -> String {
            let count = Int(integer(UInt64.self))
            return String(decoding: take(count), as: UTF8.self)
        }

        mutating func value(_ type: UInt32) throws -> Value {
            switch type {
            case 4: return .number(Double(integer(UInt32.self)))
            case 5: return .number(Double(integer(Int32.self)))
            case 6: return .number(Double(Float(bitPattern: integer(UInt32.self))))
            case 7: return .bool(integer(UInt8.self) == 1)
            case 8: return .text(text())
            case 9:
                let inner = integer(UInt32.self)
                return .list(try (0..<Int(integer(UInt64.self))).map { _ in try value(inner) })
            default: throw Malformed(what: "a value of the type \(type)")
            }
        }
    }
}
