package import Layers
package import TensorCore

/// Merging: what the base's weights are with the adapter in them.
///
/// Where a head shares its matrix with an embedding and the adapter changes one of the two, the merged model has two
/// matrices: ``untiedHead`` is then the head. Merging into the shared one would change the end that was not trained.
extension AttachedAdapter {
    /// The values of one of the model's parameters with the adapter in it, `W + ΔW`, or as they are; floats.
    ///
    /// A new tensor, the base is not touched. For a merged checkpoint, ask for one parameter after another: no more
    /// than one merged matrix is then in memory. A matrix that head and embedding share is the embedding's.
    package func mergedValues(of parameter: Parameter) -> Tensor {
        changes[ObjectIdentifier(parameter)]?() ?? parameter.tensor.detached().converted(to: .float32)
    }

    /// The head that shares its matrix with an embedding in the base and no longer can.
    package var untiedHead: Projection? {
        guard let tie = model.tie, isChanged(tie.head) || isChanged(tie.embedding) else { return nil }
        return tie.head
    }

    /// The merged matrix of a linear map, whatever else shares the base's.
    package func mergedWeight(of projection: Projection) -> Tensor {
        let weight = Self.weight(projection.weight, projection, saved, parts.bases)
        guard let module = modules.first(where: { $0.projection === projection }) else { return weight }
        return Autograd.withoutGradients { Tensor.sum(weight, module.adaptation.weightDelta(for: projection)) }
    }

    /// Every weight the adapter changes, merged, by parameter name; the base is not touched.
    ///
    /// A head that is no longer tied is not among them; see ``untiedHead``.
    package func mergedWeights() -> [String: Tensor] {
        Dictionary(
            uniqueKeysWithValues: model.parameters.compactMap { parameter in
                changes[ObjectIdentifier(parameter)].map { (parameter.name, $0()) }
            })
    }

    /// Adds the adapter to the base's weights for good and detaches it.
    ///
    /// A head that was tied and no longer is computes with a matrix of its own from then on.
    ///
    /// - Precondition: it is enabled, so that it cannot be added twice.
    package func mergeIntoBase() {
        precondition(isEnabled, "mergeIntoBase: the adapter is detached or disabled")
        let untied = untiedHead.map { head in
            (head, Parameter("\(head.path).weight", mergedWeight(of: head)), head.bias)
        }
        // All are made before the first is assigned: some are made of others.
        let merged = model.parameters.compactMap { parameter in
            changes[ObjectIdentifier(parameter)].map { (parameter, $0()) }
        }
        detach()
        for (parameter, values) in merged { parameter.assign(values) }
        if let (head, weight, bias) = untied { head.substitute = (weight, bias) }
    }

    private func isChanged(_ module: AnyObject) -> Bool {
        modules.contains { $0.projection === module } || embeddings.contains { $0.embedding === module }
            || saved.contains { $0.isModule(module) }
    }

    /// How to make the merged values of each weight that the adapter changes.
    func changesByWeight() -> [ObjectIdentifier: () -> Tensor] {
        let (saved, bases) = (saved, parts.bases)
        var changes: [ObjectIdentifier: () -> Tensor] = [:]
        // The matrix belongs to the embedding: a tied head that changed is no entry here, but gets one of its own.
        let tied = model.tie?.head
        for module in saved {
            let isTied = tied.map(module.isModule) ?? false
            for (original, copy) in zip(module.originals, module.parameters).dropFirst(isTied ? 1 : 0) {
                changes[ObjectIdentifier(original)] = { copy.tensor.detached() }
            }
        }
        for module in modules where module.projection !== tied {
            let projection = module.projection
            changes[ObjectIdentifier(projection.weight)] = {
                let weight = Self.weight(projection.weight, projection, saved, bases)
                return Autograd.withoutGradients {
                    Tensor.sum(weight, module.adaptation.weightDelta(for: projection))
                }
            }
        }
        for module in embeddings {
            let embedding = module.embedding
            changes[ObjectIdentifier(embedding.weight)] = {
                let weight = Self.weight(embedding.weight, embedding, saved, bases)
                return Autograd.withoutGradients {
                    Tensor.sum(weight, module.adaptation.weightDelta(for: embedding))
                }
            }
        }
        return changes
    }

    /// What computes in a module without its adaptation when the adapter is on.
    private static func weight(
        _ original: Parameter, _ module: AnyObject, _ saved: [SavedModule], _ bases: [StoredBase]
    ) -> Tensor {
        let copy = saved.first { $0.isModule(module) }?.parameters[0]
        let base = bases.first { $0.isModule(module) && $0.differs }?.parameter
        return (copy ?? base ?? original).tensor.detached().converted(to: .float32)
    }
}
