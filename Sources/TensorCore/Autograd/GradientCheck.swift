/// Compares an op's backward pass with central differences; the test every op has.
package enum GradientCheck {
    /// The largest disagreement found.
    package struct Report {
        /// `|analytic − numeric|` relative to the largest entry of the numeric gradient of that parameter.
        package let largestError: Double
        /// Which parameter and element it was.
        package let place: String
    }

    /// Checks `d loss / d parameter` for every element of every parameter.
    ///
    /// `loss` is called often and must be a pure function of the parameters' values. Differences are taken with `step` in
    /// single precision, so errors around 1e-3 are rounding, not mistakes.
    package static func run(
        _ parameters: [Parameter], step: Float = 1e-2, loss: () -> Tensor
    ) -> Report {
        for parameter in parameters {
            parameter.isTrainable = true
            parameter.zeroGradient()
        }
        loss().backward()
        var worst = Report(largestError: 0, place: "none")
        for parameter in parameters {
            let analytic = parameter.gradient?.values ?? [Float](repeating: 0, count: parameter.tensor.count)
            let numeric = (0..<parameter.tensor.count).map { index -> Double in
                let element = parameter.tensor.pointer + index
                let original = element.pointee
                element.pointee = original + step
                let above = Double(Autograd.withoutGradients(loss).scalar)
                element.pointee = original - step
                let below = Double(Autograd.withoutGradients(loss).scalar)
                element.pointee = original
                return (above - below) / (2 * Double(step))
            }
            let largest = max(numeric.map(abs).max() ?? 0, 1e-6)
            for (index, value) in numeric.enumerated() {
                let error = abs(Double(analytic[index]) - value) / largest
                if !(error <= worst.largestError) {
                    worst = Report(
                        largestError: error, place: "\(parameter.name)[\(index)]: \(analytic[index]) against \(value)")
                }
            }
        }
        return worst
    }
}
