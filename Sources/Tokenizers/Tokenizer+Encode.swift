import Synchronization

extension Tokenizer {
    /// The ids, tokens and offsets of a text; with the special tokens of the post-processor if asked for.
    package func encode(_ text: String, addSpecialTokens: Bool) -> Encoding {
        arrange([tokens(of: text)], addSpecialTokens: addSpecialTokens)
    }

    /// The same of two texts, arranged and told apart by type ids as the post-processor says.
    ///
    /// Offsets count from the start of each text.
    package func encode(_ first: String, _ second: String, addSpecialTokens: Bool) -> Encoding {
        arrange([tokens(of: first), tokens(of: second)], addSpecialTokens: addSpecialTokens)
    }

    /// The tokens of one text as the model gives them.
    func tokens(of text: String) -> Encoding {
        text.withUTF8Bytes { utf8 in
            withSession { session in
                session.reset(wantsOffsets: true)
                run(utf8, session)
                return encoding(utf8, session)
            }
        }
    }

    /// Post-processing of one or two texts.
    func arrange(_ texts: [Encoding], addSpecialTokens: Bool) -> Encoding {
        var texts = texts
        for processor in postProcessors {
            for index in texts.indices { processor.adjustOffsets(&texts[index]) }
        }
        return arrangement.joined(texts, addSpecialTokens: addSpecialTokens)
    }

    /// Appends the ids of a text to `output`; faster than ``encode(_:addSpecialTokens:)``, which also makes tokens and
    /// offsets.
    package func encodeIDs(_ text: String, addSpecialTokens: Bool, into output: inout [Int32]) {
        text.withUTF8Bytes { append($0, addSpecialTokens, &output) }
    }

    /// Appends the ids of UTF-8 bytes to `output`.
    ///
    /// Ill-formed sequences count as U+FFFD, as when the bytes are made a `String` first.
    package func encodeIDs(
        _ utf8: UnsafeBufferPointer<UInt8>, addSpecialTokens: Bool, into output: inout [Int32]
    ) {
        if UTF8Reading.isValid(utf8) {
            append(utf8, addSpecialTokens, &output)
        } else {
            encodeIDs(String(decoding: utf8, as: UTF8.self), addSpecialTokens: addSpecialTokens, into: &output)
        }
    }

    private func append(_ utf8: UnsafeBufferPointer<UInt8>, _ addSpecialTokens: Bool, _ output: inout [Int32]) {
        withSession { session in
            session.reset(wantsOffsets: false)
            run(utf8, session)
            if addSpecialTokens { output.append(contentsOf: affixes.prefix) }
            output.append(
                contentsOf: UnsafeBufferPointer(start: session.buffers.ids.base, count: session.buffers.ids.count))
            if addSpecialTokens { output.append(contentsOf: affixes.suffix) }
        }
    }

    private func withSession<Result>(_ body: (EncodingSession) -> Result) -> Result {
        let session = pool.withLock { $0.popLast() } ?? EncodingSession()
        defer { pool.withLock { $0.append(session) } }
        return body(session)
    }

    // MARK: From text to ids

    private func run(_ utf8: UnsafeBufferPointer<UInt8>, _ session: EncodingSession) {
        added.inOriginal.forEachSpan(in: utf8) { span in
            let part = UnsafeBufferPointer(rebasing: utf8[span.range])
            let segment = Segment(original: utf8, base: span.range.lowerBound, bytes: part)
            if let id = span.id { return appendAdded(id, segment, session) }
            guard let normalizer, !normalizer.leavesUnchanged(part) else { return runNormalized(segment, session) }
            var text = AlignedText(
                part, base: span.range.lowerBound, tracksOrigins: session.buffers.keepsLengths)
            normalizer.normalize(&text)
            text.bytes.withUnsafeBufferPointer { bytes in
                runNormalized(segment.rewritten(bytes, text.origins[...]), session)
            }
        }
    }

    private func runNormalized(_ segment: Segment, _ session: EncodingSession) {
        if added.inNormalized.isEmpty { return runPieces(segment, session) }
        added.inNormalized.forEachSpan(in: segment.bytes) { span in
            let part = segment.part(span.range)
            if let id = span.id { appendAdded(id, part, session) } else { runPieces(part, session) }
        }
    }

    private func runPieces(_ segment: Segment, _ session: EncodingSession) {
        guard !segment.bytes.isEmpty else { return }
        if let scanner { return runScanner(scanner, segment, session) }
        if preTokenizers.isEmpty {
            return runModel(segment, session)
        }
        var text = PreTokenizedText(
            AlignedText(
                segment.bytes, base: segment.base, origins: segment.origins,
                tracksOrigins: session.buffers.keepsLengths, startsOriginal: segment.startsOriginal))
        for step in preTokenizers { step.preTokenize(&text) }
        text.text.bytes.withUnsafeBufferPointer { bytes in
            guard session.buffers.keepsLengths else {
                for piece in text.pieces {
                    model.tokenize(UnsafeBufferPointer(rebasing: bytes[piece]), into: &session.buffers)
                }
                return
            }
            let whole = segment.rewritten(bytes, text.text.origins[...])
            for piece in text.pieces { runModel(whole.part(piece), session) }
        }
    }

    private func runScanner(_ scanner: PatternScanner, _ segment: Segment, _ session: EncodingSession) {
        let bytes = segment.bytes
        var start = 0
        while start < bytes.count {
            let end = scanner.end(of: bytes, from: start, classes)
            if session.buffers.keepsLengths {
                runModel(segment.part(start..<end), session)
            } else {
                model.tokenize(UnsafeBufferPointer(rebasing: bytes[start..<end]), into: &session.buffers)
            }
            start = end
        }
    }

    private func runModel(_ segment: Segment, _ session: EncodingSession) {
        let first = session.buffers.ids.count
        model.tokenize(segment.bytes, into: &session.buffers)
        guard session.buffers.keepsLengths else { return }
        var start = 0
        for index in first..<session.buffers.ids.count {
            let length = session.buffers.lengths[index]
            if length == EncodingBuffers.sameAsPrevious, let last = session.origins.last {
                session.origins.append(last)
                continue
            }
            let end = start + Int(length)
            session.origins.append(segment.origin(of: start..<end))
            if session.buffers.ids[index] == model.textTokenID {
                session.found.append((index, String(decoding: segment.bytes[start..<end], as: UTF8.self)))
            }
            start = end
        }
    }

    private func appendAdded(_ id: Int32, _ segment: Segment, _ session: EncodingSession) {
        session.buffers.ids.append(id)
        guard session.buffers.keepsLengths else { return }
        session.buffers.lengths.append(Int32(segment.bytes.count))
        session.origins.append(segment.origin(of: 0..<segment.bytes.count))
        session.found.append((session.buffers.ids.count - 1, String(decoding: segment.bytes, as: UTF8.self)))
    }

    // MARK: From ids to an encoding

    private func encoding(_ utf8: UnsafeBufferPointer<UInt8>, _ session: EncodingSession) -> Encoding {
        let count = session.buffers.ids.count
        let ids = Array(UnsafeBufferPointer(start: session.buffers.ids.base, count: count))
        // Added tokens have the text that was found, which may include stripped spaces; so have unknown ones of some
        // models.
        var tokens: [String] = []
        tokens.reserveCapacity(count)
        var found = session.found[...]
        for (index, id) in ids.enumerated() {
            if let next = found.first, next.place == index {
                tokens.append(next.text)
                found.removeFirst()
            } else {
                tokens.append(model.vocabulary.token(of: id) ?? "")
            }
        }
        return Encoding(ids: ids, tokens: tokens, offsets: scalarOffsets(session.origins, utf8))
    }

    private func scalarOffsets(
        _ origins: [AlignedText.Origin], _ utf8: UnsafeBufferPointer<UInt8>
    ) -> [Range<Int>] {
        if UTF8Reading.isASCII(utf8) { return origins.map { Int($0.start)..<max(Int($0.start), Int($0.end)) } }
        // The number of scalars that start at or before each byte, less one: the index of the byte's scalar.
        var indices = [Int32](repeating: 0, count: utf8.count + 1)
        var scalar: Int32 = -1
        for index in utf8.indices {
            if !UTF8Reading.isContinuation(utf8[index]) { scalar += 1 }
            indices[index] = scalar
        }
        indices[utf8.count] = scalar + 1
        return origins.map { origin in
            let start = Int(indices[min(Int(origin.start), utf8.count)])
            return start..<max(start, Int(indices[min(Int(origin.end), utf8.count)]))
        }
    }
}
