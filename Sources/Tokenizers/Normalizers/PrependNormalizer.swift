/// `Prepend`: puts a string before the text unless the text is empty.
struct PrependNormalizer: Normalizer {
    private let prefix: String

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "prepend")
        prefix = try node.required("prepend").string()
    }

    func normalize(_ text: inout AlignedText) { text.prepend(prefix) }
}
