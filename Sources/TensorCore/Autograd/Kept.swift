import CKernels

extension Autograd {
    @TaskLocal fileprivate static var keptType = DType.float32

    /// Runs `body`, in which ops keep what their backward passes need as `type`: BF16 takes half the memory of F32.
    ///
    /// Where products round their operands to BF16 anyway, nothing that is multiplied changes; activations and norms are
    /// differentiated at a place that is off by at most a part in 256, and adapters gather gradients of inputs that are.
    /// Mixed precision keeps them so everywhere (Micikevicius et al. 2018, arXiv 1710.03740).
    ///
    /// - Precondition: F32 or BF16.
    package static func keeping<Result>(_ type: DType, _ body: () throws -> Result) rethrows -> Result {
        precondition(type == .float32 || type == .bfloat16, "keeping: \(type)")
        return try $keptType.withValue(type, operation: body)
    }
}

/// A tensor that an op keeps for its backward pass: the tensor itself, or its elements rounded to BF16, after which nobody
/// but the next op holds the floats. Ops that keep the same tensor share the rounded elements.
struct Kept {
    /// F32 or BF16, without a node.
    let tensor: Tensor

    /// Elements that are widened at a time: they stay in the first cache until they are used; of a block in the second.
    private static let stretch = 4096, blockStretch = 1 << 16

    /// Keeps a tensor as ``Autograd/keeping(_:_:)`` says. Made in the arguments of ``Tensor/recorded(_:_:)``, and so only
    /// where a backward pass will come.
    init(_ tensor: Tensor) {
        guard Autograd.keptType == .bfloat16, tensor.dtype == .float32 else {
            self.tensor = tensor.detached()
            return
        }
        self.tensor = Tensor(shape: tensor.shape, storage: Kept.rounded(tensor), offset: 0)
    }

    /// Keeps a tensor as it is.
    init(asItIs tensor: Tensor) { self.tensor = tensor.detached() }

    var shape: [Int] { tensor.shape }
    var rows: Int { tensor.rows }
    var columns: Int { tensor.columns }
    var count: Int { tensor.count }
    /// Whether the elements are BF16.
    var isRounded: Bool { tensor.dtype == .bfloat16 }

    private static func rounded(_ tensor: Tensor) -> Storage {
        let isWhole = tensor.offset == 0 && tensor.count == tensor.storage.count
        if isWhole, let known = tensor.storage.rounded { return known }
        let result = Storage(count: tensor.count, dtype: .bfloat16)
        let (x, y) = (tensor.pointer, result.halves)
        Parallel.forEachRange(tensor.count, grain: 4096) { range in
            ck_kernels().pointee.round_rows_bf16(
                1, range.count, x + range.lowerBound, range.count, y + range.lowerBound)
        }
        if isWhole { tensor.storage.rounded = result }
        return withExtendedLifetime(tensor) { result }
    }

    /// The elements as floats: the tensor itself, or a copy.
    func widened() -> Tensor { tensor.converted(to: .float32) }

    /// Elements of a range as floats: where they lie, or written to `scratch`.
    func floats(_ range: Range<Int>, _ scratch: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
        guard isRounded else { return UnsafePointer(tensor.pointer + range.lowerBound) }
        ckernels_f32_from_bf16(tensor.halves + range.lowerBound, scratch, range.count)
        return UnsafePointer(scratch)
    }

    /// Calls `body` on all threads with ranges of `0..<count`, in multiples of `unit` elements: with what each thread does
    /// in one piece, or, where floats must be made, in pieces for which there is room in the scratch of ``floats(_:_:)``.
    ///
    /// - Parameters:
    ///   - others: how many more tensors of the same size are read beside this one; each has its part of the scratch.
    ///   - grain: as of `Parallel.forEachRange`, in units.
    func forEachPiece(
        unit: Int = 1, grain: Int, others: Int = 0,
        _ body: (_ range: Range<Int>, _ scratch: UnsafeMutablePointer<Float>) -> Void
    ) {
        let most = isRounded ? max(1, Self.stretch / unit) : Int.max
        let room = isRounded ? most * unit * (1 + others) : 1
        Parallel.forEachRange(count / unit, grain: grain) { units in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: room) { scratch in
                guard let start = scratch.baseAddress else { return }
                var low = units.lowerBound
                while low < units.upperBound {
                    let high = units.upperBound - low > most ? low + most : units.upperBound
                    body(low * unit..<high * unit, start)
                    low = high
                }
            }
        }
    }

    /// Calls `body` on this thread with blocks of rows, of which it sees some columns as floats, `stride` apart: once with
    /// all rows where they lie, or with as many at a time as are widened.
    func forEachBlock(
        columns: Range<Int>, _ body: (_ rows: Range<Int>, _ x: UnsafePointer<Float>, _ stride: Int) -> Void
    ) {
        guard isRounded else { return body(0..<rows, tensor.pointer + columns.lowerBound, self.columns) }
        let width = columns.count, most = min(rows, max(1, Self.blockStretch / max(1, width)))
        let scratch = Storage(count: most * width)
        for low in stride(from: 0, to: rows, by: most) {
            let high = min(low + most, rows)
            for row in low..<high {
                ckernels_f32_from_bf16(
                    tensor.halves + row * self.columns + columns.lowerBound, scratch.pointer + (row - low) * width,
                    width)
            }
            body(low..<high, scratch.pointer, width)
        }
        withExtendedLifetime((self, scratch)) {}
    }
}
