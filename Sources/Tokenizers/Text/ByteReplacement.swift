extension String {
    /// The text with every occurrence of `pattern` replaced, compared byte by byte.
    ///
    /// The standard library's own replacement compares by canonical equivalence, and by whole characters.
    func replacingBytes(of pattern: String, with replacement: String) -> String {
        let pattern = Array(pattern.utf8)
        guard let first = pattern.first else { return self }
        return withUTF8Bytes { utf8 in
            var result: [UInt8] = []
            var copied = 0
            var index = 0
            while index + pattern.count <= utf8.count {
                guard utf8[index] == first, utf8[index..<index + pattern.count].elementsEqual(pattern) else {
                    index += 1
                    continue
                }
                result.append(contentsOf: utf8[copied..<index])
                result.append(contentsOf: replacement.utf8)
                index += pattern.count
                copied = index
            }
            if copied == 0 { return self }
            result.append(contentsOf: utf8[copied...])
            return String(decoding: result, as: UTF8.self)
        }
    }
}
