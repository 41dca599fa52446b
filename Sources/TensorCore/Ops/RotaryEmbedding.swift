import CKernels
import Glibc

/// Angles of the rotary position embedding for the rows of a batch.
package struct RotaryAngles {
    /// `[N, dim/2]`, already multiplied by the variant's attention factor.
    let cosines: Tensor
    let sines: Tensor
    /// How many elements at the start of each head are rotated.
    package let dimension: Int

    /// Angles `position · inverseFrequency` for every row.
    ///
    /// - Parameters:
    ///   - positions: one a row.
    ///   - inverseFrequencies: one a rotated pair, in radians per position.
    ///   - attentionFactor: multiplies cosines and sines (1 but for yarn and longrope).
    package init(positions: [Int32], inverseFrequencies: [Double], attentionFactor: Double = 1) {
        let half = inverseFrequencies.count
        dimension = 2 * half
        cosines = Tensor(uninitialized: [positions.count, half])
        sines = Tensor(uninitialized: [positions.count, half])
        let (c, s) = (cosines.pointer, sines.pointer)
        // The reference forms the angle in single precision; long contexts see the difference.
        let frequencies = inverseFrequencies.map { Float($0) }
        let factor = Float(attentionFactor)
        for (row, position) in positions.enumerated() {
            for i in 0..<half {
                let angle = Double(Float(position) * frequencies[i])
                c[row * half + i] = Float(cos(angle)) * factor
                s[row * half + i] = Float(sin(angle)) * factor
            }
        }
    }
}

extension Tensor {
    /// Rotates the queries or keys of every head by their position (Su et al. 2021, arXiv 2104.09864; halves, not pairs).
    ///
    /// For `i < dim/2`: `y_i = x_i cos − x_{i+dim/2} sin`, `y_{i+dim/2} = x_{i+dim/2} cos + x_i sin`. Shapes: `[N, heads · headDim]`
    /// in and out. Backward is the rotation by the opposite angle. Works in place when nobody else holds the storage.
    ///
    /// - Parameter heads: how many heads at the start of a row are rotated; all by default. The queries and keys of a fused
    ///   tensor are its first heads.
    /// - Precondition: as many rows as angles, and columns a multiple of `headDimension`.
    package consuming func rotated(by angles: RotaryAngles, headDimension: Int, heads: Int? = nil) -> Tensor {
        let heads = heads ?? columns / headDimension
        precondition(
            columns % headDimension == 0 && heads * headDimension <= columns && angles.cosines.rows == rows
                && angles.dimension <= headDimension,
            "rotated: \(shape), head dimension \(headDimension), angles for \(angles.cosines.rows) rows")
        let source = node
        var result: Tensor
        if Storage.takesOver(&storage) {
            result = detached()
            rotate(result, by: angles, headDimension: headDimension, heads: heads, sign: 1)
        } else {
            result = Tensor(uninitialized: shape)
            rotate(result, copying: self, by: angles, headDimension: headDimension, heads: heads, sign: 1)
        }
        if let source, Autograd.isRecording {
            let op = RotaryOp(angles: angles, headDimension: headDimension, heads: heads)
            result.node = Node(op: op, inputs: [source], shape: result.shape)
        }
        return result
    }
}

private func rotate(
    _ tensor: Tensor, copying source: Tensor? = nil, by angles: RotaryAngles, headDimension: Int, heads: Int,
    sign: Float
) {
    let (c, half) = (tensor.columns, angles.dimension / 2)
    let original = source?.pointer
    let (x, cosines, sines) = (tensor.pointer, angles.cosines.pointer, angles.sines.pointer)
    Parallel.forEachRange(tensor.rows, grain: 4) { range in
        let low = range.lowerBound
        if let original { (x + low * c).update(from: original + low * c, count: range.count * c) }
        ck_kernels().pointee.rotate_halves(
            range.count, heads, headDimension, angles.dimension, sign, cosines + low * half, sines + low * half,
            x + low * c, c)
    }
}

private struct RotaryOp: DifferentiableOp {
    let angles: RotaryAngles
    let headDimension: Int
    let heads: Int

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: gradient.shape)
        rotate(result, copying: gradient, by: angles, headDimension: headDimension, heads: heads, sign: -1)
        inputs.add(result, to: 0)
    }
}
