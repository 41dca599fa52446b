/// The adapter methods this engine knows.
package enum AdapterRegistry {
    /// One line a method.
    package static let methods: [any AdapterMethod.Type] = [
        LoRA.self
    ]

    /// The method a manifest names.
    ///
    /// - Throws: ``AdapterError`` that lists the known ones.
    package static func method(named name: String) throws -> any AdapterMethod.Type {
        guard let method = methods.first(where: { $0.name == name }) else {
            let known = methods.map { $0.name }.joined(separator: ", ")
            throw AdapterError(.unsupported, "adapter method \"\(name)\" is not supported; supported: \(known)")
        }
        return method
    }

    /// The method of a `peft_type`.
    ///
    /// - Throws: ``AdapterError`` that lists the known ones.
    static func method(peftType: String, file: String) throws -> any AdapterMethod.Type {
        guard let method = methods.first(where: { $0.peftType == peftType }) else {
            let known = methods.map { $0.peftType }.joined(separator: ", ")
            throw AdapterError(.unsupported, "\(file): peft_type \"\(peftType)\" is not supported; supported: \(known)")
        }
        return method
    }
}
