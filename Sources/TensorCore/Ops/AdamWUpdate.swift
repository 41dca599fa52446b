import CKernels

/// The numbers of one AdamW step that all weights share.
package struct AdamWCoefficients: Sendable, Equatable {
    /// The learning rate of this step.
    package var learningRate: Float
    package var beta1: Float
    package var beta2: Float
    /// Added to the square root of the second moment.
    package var epsilon: Float
    /// Decoupled: the weight first shrinks by `learningRate · weightDecay` of itself.
    package var weightDecay: Float
    /// `learningRate / (1 − beta1^t)`.
    package var stepSize: Float
    /// `√(1 − beta2^t)`.
    package var correction2SquareRoot: Float
    /// What every gradient is multiplied by first, as clipping asks.
    package var gradientScale: Float

    /// The coefficients of step `t`, counted from 1.
    ///
    /// Powers are taken in double precision: `1 − 0.999^t` of small t would lose half its digits in single.
    package init(
        learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double, t: Int,
        gradientScale: Double
    ) {
        precondition(t >= 1, "AdamWCoefficients: step \(t)")
        var (power1, power2) = (1.0, 1.0)
        // Repeated squaring: exact to rounding, and the same on every C library.
        var (base1, base2, rest) = (beta1, beta2, t)
        while rest > 0 {
            if rest & 1 == 1 {
                power1 *= base1
                power2 *= base2
            }
            base1 *= base1
            base2 *= base2
            rest >>= 1
        }
        self.learningRate = Float(learningRate)
        self.beta1 = Float(beta1)
        self.beta2 = Float(beta2)
        self.epsilon = Float(epsilon)
        self.weightDecay = Float(weightDecay)
        stepSize = Float(learningRate / (1 - power1))
        correction2SquareRoot = Float((1 - power2).squareRoot())
        self.gradientScale = Float(gradientScale)
    }
}

extension Tensor {
    /// One AdamW step with decoupled decay (Loshchilov and Hutter 2019, arXiv 1711.05101), in place, as
    /// `torch.optim.AdamW` computes it.
    ///
    /// `g ← gradientScale · g`, `w ← (1 − lr · decay) w`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
    /// `w ← w − stepSize · m / (√v / correction2SquareRoot + ε)`. Every element on its own, so the bytes do not depend
    /// on the number of threads. This is the one op that changes values others may see: `self`, and the moments.
    ///
    /// - Precondition: all four of the same size, in memory of their own.
    package func updateAdamW(
        gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor, _ coefficients: AdamWCoefficients
    ) {
        precondition(
            gradient.count == count && firstMoment.count == count && secondMoment.count == count,
            "updateAdamW: weight \(shape), gradient \(gradient.shape), moments \(firstMoment.shape) "
                + "\(secondMoment.shape)")
        precondition(storage.isWritable, "updateAdamW: the weight lies in borrowed memory")
        let (w, g, m, v) = (pointer, gradient.pointer, firstMoment.pointer, secondMoment.pointer)
        let c = coefficients
        Parallel.forEachRange(count, grain: 4096) { range in
            let low = range.lowerBound
            ck_kernels().pointee.adamw(
                range.count, c.learningRate, c.beta1, c.beta2, c.epsilon, c.weightDecay, c.stepSize,
                c.correction2SquareRoot, g + low, c.gradientScale, w + low, m + low, v + low)
        }
    }
}
