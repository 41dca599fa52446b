/// A token that is found in the text before the model sees it.
package struct AddedToken: Sendable, Equatable {
    package let id: Int32
    /// The text to find.
    package let content: String
    /// Whether `decode` may leave it out.
    package let isSpecial: Bool
    /// Whether it must not touch a word character on either side.
    package let isSingleWord: Bool
    /// Whether it takes the white space before it along.
    package let stripsLeft: Bool
    /// Whether it takes the white space after it along.
    package let stripsRight: Bool
    /// Whether it is looked for in the normalised text instead of the original.
    package let isNormalized: Bool

    init(from node: JSONNode) throws {
        try node.allow(only: "id", "content", "special", "single_word", "lstrip", "rstrip", "normalized")
        id = try node.required("id").tokenID()
        content = try node.required("content").string()
        isSpecial = try node.bool("special", default: false)
        isSingleWord = try node.bool("single_word", default: false)
        stripsLeft = try node.bool("lstrip", default: false)
        stripsRight = try node.bool("rstrip", default: false)
        isNormalized = try node.bool("normalized", default: !isSpecial)
    }
}
