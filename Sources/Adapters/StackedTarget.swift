package import Layers

/// A parameter that holds the weights of several projections, and that an adapter changes as a whole: PEFT's
/// `target_parameters`.
///
/// Such an adapter has one pair of tensors for the whole stack, whose names PEFT makes by wrapping the module that holds
/// the parameter: once more for each of its parameters that are adapted, the last of them outermost.
package struct StackedTarget {
    /// The name of the parameter, such as `model.layers.0.mlp.experts.gate_up_proj`.
    package let path: String
    /// What the keys of its tensors begin with, behind ``PEFTFolder/keyPrefix``.
    package let key: String
    /// How many matrices lie in it.
    package let count: Int
    /// The elements of an output of one matrix.
    package let outputSize: Int
    package let inputSize: Int
    /// The projections whose weights lie in it.
    package let projections: [Projection]

    /// The stacks that names choose, in the order of their first projections.
    static func targets(named names: [String], in projections: [Projection]) -> [StackedTarget] {
        var order: [String] = []
        var members: [String: [Projection]] = [:]
        for projection in projections {
            guard let path = projection.stack?.path, TargetModules.isNamed(path, in: names) else { continue }
            if members[path] == nil { order.append(path) }
            members[path, default: []].append(projection)
        }
        let places = order.compactMap { members[$0]?.first?.stack }
        return order.compactMap { path in
            guard let projections = members[path], let place = projections[0].stack else { return nil }
            let wrappers = places.count { $0.module == place.module && $0.position > place.position }
            return StackedTarget(
                path: path, key: place.module + String(repeating: ".base_layer", count: wrappers), count: place.count,
                outputSize: place.outputs, inputSize: projections[0].inputSize, projections: projections)
        }
    }
}
