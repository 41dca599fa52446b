import CKernels

/// Which experts of a layer each token goes to, and how much each of them counts.
///
/// Top-k routing (Shazeer et al. 2017, arXiv 1701.06538; Jiang et al. 2024, arXiv 2401.04088). Shapes: `N` tokens, `E` experts,
/// `k` of them a token. The choice itself has no gradient; the weights have one, and through them the router.
package struct ExpertRouting {
    /// The tokens that one expert gets.
    package struct Group {
        package let expert: Int
        /// Rows of the layer's input, ascending.
        package let tokens: [Int32]
    }

    /// One place of a token: its expert's group, the row in it, and which of the token's k weights applies.
    fileprivate struct Place {
        var group: Int32
        var row: Int32
        var choice: Int32
    }

    /// `softmax(logits)`, `[N, E]`.
    package let probabilities: Tensor
    /// The weights of the chosen experts, `[N, k]`, the most probable first.
    package let weights: Tensor
    /// The experts that have any tokens, ascending.
    package let groups: [Group]
    /// How many experts there are.
    package let expertCount: Int
    /// The k places of every token, in the order of experts: the order in which their outputs are added up.
    fileprivate let places: [Place]

    fileprivate var choices: Int { weights.columns }
}

extension Tensor {
    /// Routes the tokens whose router logits these are, `[N, E]`, to the `k` most probable experts each.
    ///
    /// `p = softmax(logits)`; the chosen set `K_n` holds the k largest of row n, of equal ones the first. The weights are
    /// `w_ne = p_ne`, or `w_ne = p_ne / S_n` with `S_n = Σ_{e∈K_n} p_ne` when `isNormalised`. Backward, for a chosen e:
    /// `dp_ne = dw_ne`, or with the quotient rule `dp_ne = (dw_ne − Σ_{i∈K_n} dw_ni w_ni) / S_n`; others get nothing; and
    /// `dlogits = p (dp − Σ_e dp_ne p_ne)`.
    ///
    /// - Precondition: `1 ≤ k ≤ E`.
    package func routed(to k: Int, isNormalised: Bool) -> ExpertRouting {
        let (tokens, experts) = (rows, columns)
        precondition(k >= 1 && k <= experts, "routed: \(k) of \(experts) experts")
        let probabilities = softmaxRows()
        let chosen = probabilities.largestColumns(k)
        let weights = probabilities.gathered(chosen, k, isNormalised: isNormalised)

        var byExpert = [[Int32]](repeating: [], count: experts)
        var places = [ExpertRouting.Place](repeating: .init(group: 0, row: 0, choice: 0), count: tokens * k)
        for token in 0..<tokens {
            let row = chosen[token * k..<(token + 1) * k]
            for (index, choice) in (0..<k).sorted(by: { row[token * k + $0] < row[token * k + $1] }).enumerated() {
                let expert = Int(chosen[token * k + choice])
                places[token * k + index] = .init(
                    group: Int32(expert), row: Int32(byExpert[expert].count), choice: Int32(choice))
                byExpert[expert].append(Int32(token))
            }
        }
        // Experts without tokens have no group.
        var groupOfExpert = [Int32](repeating: 0, count: experts)
        var groups: [ExpertRouting.Group] = []
        for (expert, tokens) in byExpert.enumerated() where !tokens.isEmpty {
            groupOfExpert[expert] = Int32(groups.count)
            groups.append(.init(expert: expert, tokens: tokens))
        }
        for index in places.indices { places[index].group = groupOfExpert[Int(places[index].group)] }
        return ExpertRouting(
            probabilities: probabilities, weights: weights, groups: groups, expertCount: experts, places: places)
    }

    /// `softmax` of every row.
    private func softmaxRows() -> Tensor {
        let result = copied()
        let (y, c) = (result.pointer, columns)
        Parallel.forEachRange(rows, grain: 16) { range in
            let kernels = ck_kernels().pointee
            for row in range { kernels.softmax_scaled(c, kernels.log_sum_exp(c, y + row * c), 1, y + row * c) }
        }
        return result.recorded([self], SoftmaxRowsOp(output: result))
    }

    /// The columns of the `k` largest elements of every row, the largest first.
    private func largestColumns(_ k: Int) -> [Int32] {
        let (x, c) = (pointer, columns)
        var result: [Int32] = []
        result.reserveCapacity(rows * k)
        for row in 0..<rows {
            // Kept sorted while it is filled: k is small.
            var best: [Int] = []
            for column in 0..<c {
                let value = x[row * c + column]
                let place = best.firstIndex { x[row * c + $0] < value } ?? best.count
                guard place < k else { continue }
                best.insert(column, at: place)
                if best.count > k { best.removeLast() }
            }
            result += best.map(Int32.init)
        }
        return withExtendedLifetime(self) { result }
    }

    /// The elements in the given columns of every row, divided by their sum when asked to.
    private func gathered(_ chosen: [Int32], _ k: Int, isNormalised: Bool) -> Tensor {
        let result = Tensor(uninitialized: [rows, k])
        let (p, w, c) = (pointer, result.pointer, columns)
        var sums = [Float](repeating: 1, count: rows)
        for row in 0..<rows {
            for index in 0..<k { w[row * k + index] = p[row * c + Int(chosen[row * k + index])] }
            guard isNormalised else { continue }
            sums[row] = (0..<k).reduce(0) { $0 + w[row * k + $1] }
            for index in 0..<k { w[row * k + index] /= sums[row] }
        }
        return result.recorded(
            [self], ChosenWeightsOp(chosen: chosen, weights: isNormalised ? result : nil, sums: sums, columns: c, k: k))
    }
}

private struct SoftmaxRowsOp: DifferentiableOp {
    let output: Tensor

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let result = Tensor(uninitialized: output.shape)
        let (p, dp, dx, c) = (output.pointer, gradient.pointer, result.pointer, output.columns)
        Parallel.forEachRange(output.rows, grain: 16) { range in
            let kernels = ck_kernels().pointee
            for start in range.lazy.map({ $0 * c }) {
                let delta = kernels.dot(c, p + start, dp + start)
                kernels.softmax_row_backward(c, 1, delta, p + start, dp + start, dx + start)
            }
        }
        inputs.add(result, to: 0)
    }
}

private struct ChosenWeightsOp: DifferentiableOp {
    let chosen: [Int32]
    /// Kept when they are normalised.
    let weights: Tensor?
    let sums: [Float]
    let columns: Int
    let k: Int

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let rows = gradient.rows
        let result = Tensor(zeros: [rows, columns])
        let (dw, dp) = (gradient.pointer, result.pointer)
        for row in 0..<rows {
            let own = row * k..<(row + 1) * k
            let mean = weights.map { w in own.reduce(Float(0)) { $0 + dw[$1] * w.pointer[$1] } } ?? 0
            for index in own { dp[row * columns + Int(chosen[index])] = (dw[index] - mean) / sums[row] }
        }
        inputs.add(result, to: 0)
    }
}

extension ExpertRouting {
    /// The sum of what the experts made of their tokens, weighted: `y_n = Σ_{e∈K_n} w_ne · o_e[n]`.
    ///
    /// Each row is added up in the order of experts, so the result depends on nothing else. Backward: `do_e[n] = w_ne dy_n`,
    /// `dw_ne = dy_n · o_e[n]`.
    ///
    /// - Parameter outputs: for each of ``groups``, a row for each of its tokens: `[tokens, C]`.
    /// - Precondition: one output a group, of its size.
    package func mixed(_ outputs: [Tensor]) -> Tensor {
        precondition(
            outputs.count == groups.count && zip(outputs, groups).allSatisfy { $0.rows == $1.tokens.count },
            "mixed: outputs \(outputs.map(\.shape)) for \(groups.map(\.tokens.count)) tokens")
        let (c, k) = (outputs[0].columns, choices)
        let result = Tensor(zeros: [weights.rows, c])
        let (sources, w, y) = (outputs.map(\.pointer), weights.pointer, result.pointer)
        Parallel.forEachRange(weights.rows, grain: 4) { range in
            let kernels = ck_kernels().pointee
            for token in range {
                for place in places[token * k..<(token + 1) * k] {
                    kernels.axpy(
                        c, w[token * k + Int(place.choice)], sources[Int(place.group)] + Int(place.row) * c,
                        y + token * c)
                }
            }
        }
        return withExtendedLifetime(outputs) {
            result.recorded(
                outputs + [weights],
                MixtureOp(outputs: outputs.map { $0.detached() }, weights: weights.detached(), places: places))
        }
    }

    /// How unevenly the experts of several layers are used: `E Σ_e f_e P_e`, a scalar (Fedus et al. 2021, arXiv 2101.03961,
    /// eq. 4 to 6, for k experts a token and over all layers together, as transformers computes it).
    ///
    /// With T rows of all layers, `f_e` is the number of times e was chosen over T, and `P_e = Σ_n p_ne / T`. The counts
    /// have no gradient: `dp_ne = E f_e / T`.
    ///
    /// - Precondition: at least one layer; as many experts in each.
    package static func balanceLoss(_ routings: [ExpertRouting]) -> Tensor {
        let experts = routings[0].expertCount
        precondition(routings.allSatisfy { $0.expertCount == experts }, "balanceLoss: layers differ in experts")
        let total = Double(routings.reduce(0) { $0 + $1.probabilities.rows })
        var shares = [Double](repeating: 0, count: experts), means = shares
        for routing in routings {
            for group in routing.groups { shares[group.expert] += Double(group.tokens.count) / total }
            let p = routing.probabilities.pointer
            for row in 0..<routing.probabilities.rows {
                for expert in 0..<experts { means[expert] += Double(p[row * experts + expert]) / total }
            }
        }
        let loss = Double(experts) * zip(shares, means).reduce(0) { $0 + $1.0 * $1.1 }
        let slopes = shares.map { Float(Double(experts) * $0 / total) }
        let probabilities = routings.map(\.probabilities)
        return withExtendedLifetime(routings) {
            Tensor([Float(loss)], shape: []).recorded(
                probabilities, BalanceLossOp(slopes: slopes, rows: probabilities.map(\.rows)))
        }
    }
}

private struct MixtureOp: DifferentiableOp {
    let outputs: [Tensor]
    let weights: Tensor
    let places: [ExpertRouting.Place]

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let (c, k) = (gradient.columns, weights.columns)
        let results = outputs.map { Tensor(uninitialized: $0.shape) }
        let slopes = Tensor(uninitialized: weights.shape)
        let (sources, targets) = (outputs.map(\.pointer), results.map(\.pointer))
        let (w, dy, dw) = (weights.pointer, gradient.pointer, slopes.pointer)
        // Every row of every output belongs to one token.
        Parallel.forEachRange(weights.rows, grain: 4) { range in
            let kernels = ck_kernels().pointee
            for token in range {
                for place in places[token * k..<(token + 1) * k] {
                    let (group, start) = (Int(place.group), Int(place.row) * c)
                    let choice = token * k + Int(place.choice)
                    kernels.scale(c, w[choice], dy + token * c, targets[group] + start)
                    dw[choice] = kernels.dot(c, dy + token * c, sources[group] + start)
                }
            }
        }
        for (index, result) in results.enumerated() { inputs.add(result, to: index) }
        inputs.add(slopes, to: results.count)
    }
}

private struct BalanceLossOp: DifferentiableOp {
    let slopes: [Float]
    /// Of each layer.
    let rows: [Int]

    func backward(_ gradient: Tensor, into inputs: GradientSinks) {
        let row = slopes.map { $0 * gradient.scalar }
        for (index, rows) in rows.enumerated() where inputs.needs(index) {
            let result = Tensor(uninitialized: [rows, row.count])
            for n in 0..<rows { (result.pointer + n * row.count).update(from: row, count: row.count) }
            inputs.add(result, to: index)
        }
    }
}
