/// The ids of a sequence as they lie in a dataset: four bytes each or, where none is above 255, one.
package struct TokenIDs: RandomAccessCollection {
    private let bytes: UnsafeRawPointer
    private let areBytes: Bool
    package let startIndex = 0
    package let endIndex: Int

    /// - Parameter bytes: of `count` ids, valid for as long as this is used.
    init(_ bytes: UnsafeRawPointer, count: Int, areBytes: Bool) {
        self.bytes = bytes
        self.areBytes = areBytes
        endIndex = count
    }

    package subscript(position: Int) -> Int32 {
        precondition(indices.contains(position), "TokenIDs: position \(position) of \(endIndex)")
        return areBytes
            ? Int32(bytes.load(fromByteOffset: position, as: UInt8.self))
            : Int32(littleEndian: bytes.load(fromByteOffset: 4 * position, as: Int32.self))
    }
}
