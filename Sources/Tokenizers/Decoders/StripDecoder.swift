/// `Strip`: removes up to `start` and `stop` occurrences of a character from the ends of each text.
struct StripDecoder: TokenDecoder {
    private let content: Unicode.Scalar
    private let start: Int
    private let stop: Int

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "content", "start", "stop")
        content = try node.required("content").scalar()
        start = try node.required("start").integer(in: 0...Int(Int32.max))
        stop = try node.required("stop").integer(in: 0...Int(Int32.max))
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            var scalars = Substring(token).unicodeScalars
            var left = start
            while left > 0, scalars.first == content {
                scalars.removeFirst()
                left -= 1
            }
            left = stop
            while left > 0, scalars.last == content {
                scalars.removeLast()
                left -= 1
            }
            return String(scalars)
        }
    }
}
