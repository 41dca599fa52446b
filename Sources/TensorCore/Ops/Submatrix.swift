extension Tensor {
    /// A copy of some rows and of every `stride`-th column of a matrix: what one expert has of factors that lie together.
    ///
    /// `y_ij = x_{first + i, column + j·stride}`, with as many columns as there are. Backward: the gradient is added where
    /// the elements came from.
    ///
    /// - Precondition: the rows are there; `column < stride ≤ columns`, a divisor of the columns.
    package func submatrix(rows range: Range<Int>, column: Int = 0, stride: Int = 1) -> Tensor {
        precondition(
            range.upperBound <= rows && column < stride && columns % stride == 0,
            "submatrix: rows \(range), column \(column) by \(stride) of \(shape)")
        let place = SubmatrixPlace(first: range.lowerBound, column: column, stride: stride, width: columns)
        let result = Tensor(uninitialized: [range.count, columns / stride])
        let (x, y) = (pointer, result.pointer)
        place.forEachElement(of: result) { inner, outer in y[inner] = x[outer] }
        return result.recorded([self], SubmatrixOp(place: place, count: count))
    }
}

private struct SubmatrixPlace {
    let first: Int
    let column: Int
    let stride: Int
    let width: Int

    func forEachElement(of part: Tensor, _ body: (_ inner: Int, _ outer: Int) -> Void) {
        for row in 0..<part.rows {
            let (inner, outer) = (row * part.columns, (first + row) * width + column)
            for index in 0..<part.columns { body(inner + index, outer + index * stride) }
        }
    }
}

private struct SubmatrixOp: DifferentiableOp {
    let place: SubmatrixPlace
    let count: Int

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let dy = gradient.pointer
        inputs.accumulate(0) { dx, isFirst in
            if isFirst { dx.update(repeating: 0, count: count) }
            place.forEachElement(of: gradient) { inner, outer in dx[outer] += dy[inner] }
        }
    }
}
