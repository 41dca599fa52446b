extension CheckpointFiles {
    /// The tensor `name` as floats.
    ///
    /// F32 data that lies aligned in its file is used where it is mapped, without a copy and read-only; other types are
    /// converted.
    package func tensor(_ name: String) throws -> Tensor { try file(of: name).tensor(name) }

    /// The tensor `name` as a frozen matrix. Data of the wanted type is used where it is mapped, read-only and without a
    /// copy, and so is BF16 where products are to be single precision: it is widened, exactly, as it is multiplied.
    ///
    /// - Parameter products: F32, or BF16, to which other types are then rounded.
    package func matrix(_ name: String, products: DType) throws -> Tensor {
        try file(of: name).matrix(name, products: products)
    }
}

extension SafetensorsFile {
    /// The tensor `name` as a frozen matrix; see ``CheckpointFiles/matrix(_:products:)``.
    package func matrix(_ name: String, products: DType) throws -> Tensor {
        let entry = try entry(name)
        guard entry.dtype == .bfloat16, let start = try bytes(of: name).baseAddress, UInt(bitPattern: start) % 2 == 0
        else { return try tensor(name).converted(to: products) }
        return Tensor(borrowing: start, shape: entry.shape, dtype: .bfloat16, products: products, owner: self)
    }

    /// The tensor `name`; see ``CheckpointFiles/tensor(_:)``.
    package func tensor(_ name: String) throws -> Tensor {
        let shape = try entry(name).shape
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
            let values = converted(to: .float32)
            let floats = UnsafeBufferPointer(start: values.pointer, count: count)
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
