import CPCRE2

/// A compiled regular expression over UTF-8 (PCRE2 with Unicode properties and its just-in-time compiler).
final class RegularExpression: @unchecked Sendable {
    // Sendable holds: compiled code is immutable (pcre2api, "Multithreading"); match data and stack belong to one call.
    private let code: OpaquePointer

    /// Compiles a pattern in the syntax of tokenizer files (Oniguruma's); see ``OnigurumaSyntax``.
    init(_ pattern: String) throws {
        if let construct = OnigurumaSyntax.unsupportedConstruct(in: pattern) {
            throw TokenizerError(
                .invalidPattern, "the regular expression \(pattern) uses \(construct), which is not supported")
        }
        let options = UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP) | UInt32(PCRE2_MULTILINE)
        var status: Int32 = 0
        var offset = 0
        let compiled = OnigurumaSyntax.translated(pattern).withUTF8Bytes {
            pcre2_compile_8($0.baseAddress, $0.count, options, &status, &offset, nil)
        }
        guard let compiled else {
            var text = [UInt8](repeating: 0, count: 256)
            let length = pcre2_get_error_message_8(status, &text, text.count)
            let reason = String(decoding: text.prefix(max(0, Int(length))), as: UTF8.self)
            throw TokenizerError(.invalidPattern, "the regular expression \(pattern) does not compile: \(reason)")
        }
        code = compiled
        // Where no JIT is built in, matching interprets the same code.
        _ = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE))
    }

    deinit { pcre2_code_free_8(code) }

    /// Reports the matches from left to right.
    ///
    /// `utf8` must be valid UTF-8.
    ///
    /// An empty match directly after another match is passed over, as Oniguruma's iterator does.
    func forEachMatch(in utf8: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        guard let base = utf8.baseAddress, let data = pcre2_match_data_create_8(1, nil),
            let context = pcre2_match_context_create_8(nil)
        else { return }
        defer {
            pcre2_match_data_free_8(data)
            pcre2_match_context_free_8(context)
        }
        // A pattern may be slow but must not silently stop matching.
        pcre2_set_match_limit_8(context, UInt32.max)
        pcre2_set_depth_limit_8(context, UInt32.max)
        let bounds = pcre2_get_ovector_pointer_8(data)!
        var start = 0
        var lastEnd = -1
        while start <= utf8.count {
            var status = pcre2_match_8(code, base, utf8.count, start, UInt32(PCRE2_NO_UTF_CHECK), data, context)
            if status == PCRE2_ERROR_JIT_STACKLIMIT {
                let options = UInt32(PCRE2_NO_UTF_CHECK) | UInt32(PCRE2_NO_JIT)
                status = pcre2_match_8(code, base, utf8.count, start, options, data, context)
            }
            if status == PCRE2_ERROR_NOMATCH { return }
            precondition(status >= 0, "PCRE2 ran out of memory while matching (status \(status))")
            let match = bounds[0]..<max(bounds[0], bounds[1])
            if match.isEmpty {
                if match.lowerBound != lastEnd { body(match) }
                lastEnd = match.upperBound
                guard match.upperBound < utf8.count else { return }
                start = match.upperBound + UTF8Reading.scalar(at: match.upperBound, in: utf8).length
            } else {
                body(match)
                lastEnd = match.upperBound
                start = match.upperBound
            }
        }
    }
}
