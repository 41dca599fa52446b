extension CheckpointFiles {
    /// The tensor `name` as floats.
    ///
    /// F32 data that lies aligned in its file is used where it is mapped, without a copy and read-only; other types are
    /// converted.
    ///
    /// - Parameter dtype: `bfloat16` for a frozen weight that is to be multiplied as such: BF16 data is then used in
    ///   place, and other types are rounded to it.
    package func tensor(_ name: String, as dtype: DType = .float32) throws -> Tensor {
        try file(of: name).tensor(name, as: dtype)
    }
}

extension SafetensorsFile {
    /// The tensor `name`; see ``CheckpointFiles/tensor(_:as:)``.
    package func tensor(_ name: String, as dtype: DType = .float32) throws -> Tensor {
        let shape = try entry(name).shape
        if dtype == .bfloat16 {
            let bytes = try bytes(of: name)
            guard try entry(name).dtype == .bfloat16, let start = bytes.baseAddress, UInt(bitPattern: start) % 2 == 0
            else { return try tensor(name).converted(to: .bfloat16) }
            return Tensor(borrowing: start, shape: shape, dtype: .bfloat16, owner: self)
        }
        if let floats = try directFloats(of: name), let base = floats.baseAddress {
            return Tensor(borrowing: base, shape: shape, owner: self)
        }
        let tensor = Tensor(uninitialized: shape)
        try readFloats(name, into: UnsafeMutableBufferPointer(start: tensor.pointer, count: tensor.count))
        return tensor
    }
}

extension Tensor {
    /// What a writer needs to store this tensor as `dtype` under `name`; keeps the values alive.
    package func weightSource(_ name: String, as dtype: DType = .float32) -> WeightSource {
        WeightSource(name: name, dtype: dtype, shape: shape) { [self] sink in
            let floats = UnsafeBufferPointer(start: pointer, count: count)
            try WeightSource(name: name, shape: shape, floats: floats, as: dtype).emit(sink)
        }
    }
}

extension WeightSource {
    /// A tensor to be stored as `dtype`, made when its turn comes and dropped behind it.
    ///
    /// - Precondition: `values` gives a tensor of the given shape; `dtype` is a floating-point type.
    package init(name: String, shape: [Int], as dtype: DType = .float32, values: @escaping () -> Tensor) {
        self.init(name: name, dtype: dtype, shape: shape) { sink in
            let tensor = values()
            precondition(tensor.shape == shape, "\(name): \(tensor.shape) given for \(shape)")
            try tensor.weightSource(name, as: dtype).emit(sink)
        }
    }
}
