/// `Strip`: removes white space from the ends.
struct StripNormalizer: Normalizer {
    private let left: Bool
    private let right: Bool
    private let classes = ScalarClasses.shared

    init(from node: JSONNode) throws {
        try node.allow(only: "type", "strip_left", "strip_right")
        left = try node.required("strip_left").bool()
        right = try node.required("strip_right").bool()
    }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            var start = 0
            var end = utf8.count
            while left, start < end {
                let (scalar, length) = UTF8Reading.unicodeScalar(at: start, in: utf8)
                guard classes.isSpace(scalar) else { break }
                start += length
            }
            while right, end > start {
                let (scalar, length) = UTF8Reading.unicodeScalar(before: end, in: utf8)
                guard classes.isSpace(scalar) else { break }
                end -= length
            }
            output.copy(start..<end, of: utf8)
        }
    }
}
