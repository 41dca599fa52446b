/// One byte for every Unicode scalar, as a two-stage table: equal pages of 256 scalars are stored once.
struct ScalarTable: @unchecked Sendable {
    // Sendable holds: both stages are written in init only, and live as long as the process.

    /// Where the page of each 256 scalars starts in ``pages``.
    private let pageStart: UnsafePointer<UInt32>
    private let pages: UnsafePointer<UInt8>

    /// The table of `compute`; meant for values kept in static properties, since its memory is never freed.
    init(_ compute: (UInt32) -> UInt8) {
        let starts = UnsafeMutablePointer<UInt32>.allocate(capacity: 0x1100)
        var distinct: [[UInt8]: UInt32] = [:]
        var flat: [UInt8] = []
        var page = [UInt8](repeating: 0, count: 256)
        for number in 0..<0x1100 {
            for low in 0..<256 { page[low] = compute(UInt32(number << 8 | low)) }
            if let start = distinct[page] {
                starts[number] = start
            } else {
                starts[number] = UInt32(flat.count)
                distinct[page] = UInt32(flat.count)
                flat.append(contentsOf: page)
            }
        }
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: flat.count)
        memory.initialize(from: flat, count: flat.count)
        pageStart = UnsafePointer(starts)
        pages = UnsafePointer(memory)
    }

    /// The byte of a scalar value, which must be at most U+10FFFF.
    @inline(__always)
    subscript(value: UInt32) -> UInt8 { pages[Int(pageStart[Int(value >> 8)]) + Int(value & 0xFF)] }

    /// The byte of a scalar below U+0100, for which page 0 is read directly.
    @inline(__always)
    subscript(latin value: UInt8) -> UInt8 { pages[Int(value)] }
}
