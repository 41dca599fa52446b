import Adapters
import Foundation
import Layers
import Models
import TensorCore

extension GGUFFile {
    /// An adapter as a file that llama.cpp puts onto a base.
    ///
    /// The reader knows one alpha for the whole file and scales each pair by alpha over its rank, so what rank-stabilised
    /// scales and patterns ask for beyond that is multiplied into B.
    init(adapter pairs: [LowRankPair], named name: String, for architecture: GGUFArchitecture) throws {
        set("general.architecture", architecture.name)
        set("general.type", "adapter")
        set("general.name", name)
        set("general.file_type", GGUFElements.f32.fileType)
        set("general.quantization_version", 2)
        set("adapter.type", "lora")
        // 0 would mean a scale of 1.
        let alpha = pairs.map { $0.scale * Double($0.rank) }.first { $0 > 0 } ?? 1
        set("adapter.lora.alpha", .float32(Float(alpha)))
        for pair in pairs {
            let module = try architecture.tensorName("\(pair.path).weight")
            let factor = pair.scale * Double(pair.rank) / alpha
            let b = try architecture.arranged(pair.b, of: pair.path)
            tensors.append(TensorSource(name: "\(module).lora_a", shape: pair.a.shape, format: .f32) { pair.a })
            tensors.append(
                TensorSource(name: "\(module).lora_b", shape: pair.b.shape, format: .f32) {
                    // One that is exactly the reader's own stays as it is, bit for bit.
                    factor == 1 ? b : b.multiplied(by: Float(factor))
                })
        }
    }

    /// A base with an adapter in it, as a whole model.
    ///
    /// - Parameters:
    ///   - adapter: what is merged; `nil` for the base alone.
    ///   - elements: of the matrices; vectors and positions are F32.
    ///   - tokenizer: `nil` for a base without one.
    init(
        model: any SequenceModel, with adapter: AttachedAdapter?, named name: String,
        for architecture: GGUFArchitecture, as elements: GGUFElements, tokenizer: GGUFTokenizer?
    ) throws {
        set("general.architecture", architecture.name)
        set("general.type", "model")
        set("general.name", name)
        set("general.file_type", elements.fileType)
        set("general.quantization_version", 2)
        for (key, value) in try architecture.metadata(for: model) { set(key, value) }
        if let tokenizer {
            for (key, value) in tokenizer.metadata { set(key, value) }
        } else {
            set("tokenizer.ggml.model", "none")
        }
        let turned = Set(
            (model.projections + model.heads).filter { $0.layout == .inputByOutput }.map { ObjectIdentifier($0.weight) }
        )
        func add(_ parameter: String, _ shape: [Int], _ values: @escaping () throws -> Tensor) throws {
            let tensor = try architecture.tensorName(parameter)
            let isPlain = shape.count == 1 || tensor.hasPrefix("position_embd")
            tensors.append(
                TensorSource(
                    name: tensor, shape: shape, format: isPlain ? .f32 : elements.fitting(shape), values: values))
        }
        for parameter in model.parameters {
            let path = parameter.name.split(separator: ".").dropLast().joined(separator: ".")
            let isTurned = turned.contains(ObjectIdentifier(parameter))
            let shape = parameter.tensor.shape
            try add(parameter.name, isTurned ? shape.reversed() : shape) {
                let values = adapter?.mergedValues(of: parameter) ?? parameter.tensor.detached()
                return try architecture.arranged(isTurned ? values.turned() : values, of: path)
            }
        }
        if let adapter, let head = adapter.untiedHead {
            try add("\(head.path).weight", head.weight.tensor.shape) { adapter.mergedWeight(of: head) }
        }
        if let factors = try architecture.rotaryFactors() {
            tensors.append(
                TensorSource(name: "rope_freqs.weight", shape: factors.shape, format: .f32) { factors })
        }
    }
}

extension Tensor {
    /// Every element times a number, without a gradient.
    func multiplied(by factor: Float) -> Tensor {
        let result = Tensor(uninitialized: shape)
        for index in 0..<count { result.pointer[index] = pointer[index] * factor }
        return result
    }

    /// The transpose of a matrix, without a gradient.
    func turned() -> Tensor {
        let (rows, columns) = (shape[0], shape[1])
        let result = Tensor(uninitialized: [columns, rows])
        for row in 0..<rows {
            for column in 0..<columns { result.pointer[column * rows + row] = pointer[row * columns + column] }
        }
        return result
    }
}
