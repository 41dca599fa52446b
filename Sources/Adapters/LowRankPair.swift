import Layers
package import TensorCore

/// What an adapter adds to one linear map: `scale · B A`.
package struct LowRankPair {
    /// The module's path in the model, as transformers 5 has it.
    package let path: String
    /// `[r, in]`.
    package let a: Tensor
    /// `[out, r]`.
    package let b: Tensor
    package let scale: Double

    package var rank: Int { a.shape[0] }

    /// The pair with `scale` in B, padded with zeros to `rank`: it adds the same.
    package func padded(to rank: Int, scaledBy factor: Double) -> LowRankPair {
        precondition(rank >= self.rank, "\(path): a pair of rank \(self.rank) does not fit into \(rank)")
        let (inputs, outputs, own) = (a.shape[1], b.shape[0], self.rank)
        let (wideA, wideB) = (Tensor(zeros: [rank, inputs]), Tensor(zeros: [outputs, rank]))
        for index in 0..<own * inputs { wideA.pointer[index] = a.pointer[index] }
        for row in 0..<outputs {
            for column in 0..<own {
                wideB.pointer[row * rank + column] = Float(Double(b.pointer[row * own + column]) * factor)
            }
        }
        return LowRankPair(path: path, a: wideA, b: wideB, scale: scale / factor)
    }
}

extension AttachedAdapter {
    /// The adapter as low-rank pairs, one a module, for formats that have nothing else.
    ///
    /// - Throws: ``AdapterError`` with code `unsupported`, naming what is more than that: modules that are saved whole,
    ///   adapted embeddings, parameters of experts.
    package func lowRankPairs() throws -> [LowRankPair] {
        if let first = saved.first {
            throw AdapterError(.unsupported, "\(first.path) is trained whole (modules_to_save), not by a low-rank pair")
        }
        if let first = embeddings.first {
            throw AdapterError(.unsupported, "\(first.embedding.path) is an adapted embedding, not a linear map")
        }
        if let first = match.stacks.first {
            throw AdapterError(.unsupported, "\(first.path) is a parameter of experts, not a linear map")
        }
        return try modules.map { module in
            guard let pair = module.adaptation as? LoRAAdaptation else {
                throw AdapterError(.unsupported, "\(module.projection.path) is not adapted by LoRA")
            }
            return LowRankPair(
                path: module.projection.path, a: pair.a.tensor.detached(), b: pair.b.tensor.detached(),
                scale: Double(pair.scale))
        }
    }
}
