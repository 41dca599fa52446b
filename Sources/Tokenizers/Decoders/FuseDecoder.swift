/// `Fuse`: joins all texts into one, so that later steps see the whole.
struct FuseDecoder: TokenDecoder {
    init(from node: JSONNode) throws { try node.allow(only: "type") }

    func decode(_ tokens: [String]) -> [String] { [tokens.joined()] }
}
