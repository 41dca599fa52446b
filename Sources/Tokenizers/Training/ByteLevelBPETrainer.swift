/// Learns a byte-level BPE from text.
///
/// Text is cut by GPT-2's pattern; then the most frequent pair of neighbouring symbols becomes a token, again and again
/// (Sennrich et al. 2016, arXiv 1508.07909). Counts are kept up to date word by word, so a merge costs as much as the
/// words that hold it.
///
/// The result depends on the counts alone, not on the order of the texts: of pairs that occur equally often, the one
/// with the lower left id wins, then the one with the lower right id. Ids are given in this order: special tokens, the
/// 256 bytes by the character that stands for them, merged tokens as they are found. Hugging Face's `BpeTrainer` has
/// the same order, and gives the same merges.
package struct ByteLevelBPETrainer {
    /// What to learn.
    package struct Options: Sendable {
        /// The number of tokens wanted, special tokens and the 256 bytes included.
        package var vocabularySize: Int
        /// Tokens that get the first ids and are found in text as they are.
        package var specialTokens: [String]
        /// A pair that occurs less often is not merged; training may end with fewer tokens than wanted.
        package var minimumFrequency: Int

        package init(vocabularySize: Int, specialTokens: [String] = [], minimumFrequency: Int = 2) {
            self.vocabularySize = vocabularySize
            self.specialTokens = specialTokens
            self.minimumFrequency = minimumFrequency
        }
    }

    private let options: Options
    private var words = WordCounts()

    /// - Throws: ``TokenizerError`` when the vocabulary cannot hold the bytes and the special tokens, or when a special
    ///   token is empty, named twice, or the character of a byte.
    package init(_ options: Options) throws {
        let specials = options.specialTokens
        guard options.minimumFrequency >= 1 else {
            throw TokenizerError(.impossibleTraining, "the minimum frequency must be at least 1")
        }
        guard specials.allSatisfy({ !$0.isEmpty }), Set(specials.map { Array($0.utf8) }).count == specials.count else {
            throw TokenizerError(.impossibleTraining, "special tokens must not be empty or repeated")
        }
        let alphabet = (0..<256).map { ByteAlphabet.scalar(of: UInt8($0)) }
        for special in specials
        where special.unicodeScalars.count == 1 && alphabet.contains(special.unicodeScalars.first!) {
            throw TokenizerError(
                .impossibleTraining, "the special token \"\(special)\" is a character that stands for a byte")
        }
        let smallest = 256 + specials.count
        guard (smallest...Vocabulary.maximumID).contains(options.vocabularySize) else {
            throw TokenizerError(
                .impossibleTraining,
                "a vocabulary of \(options.vocabularySize) tokens is too small or too large: 256 bytes and "
                    + "\(specials.count) special tokens need \(smallest), and \(Vocabulary.maximumID) are the most")
        }
        self.options = options
    }

    /// Adds a text, given as UTF-8.
    ///
    /// Words do not reach across texts.
    package mutating func add(_ utf8: UnsafeBufferPointer<UInt8>) { words.add(utf8) }

    /// Adds a text.
    package mutating func add(_ text: String) { text.withUTF8Bytes { words.add($0) } }

    /// Learns the merges from the texts added so far.
    package func train() -> TrainedBPE {
        var vocabulary = options.specialTokens
        var byteIDs = [Int32](repeating: 0, count: 256)
        let bytesInOrder = (0..<256).map { UInt8($0) }.sorted {
            ByteAlphabet.scalar(of: $0) < ByteAlphabet.scalar(of: $1)
        }
        for byte in bytesInOrder {
            byteIDs[Int(byte)] = Int32(vocabulary.count)
            vocabulary.append(ByteAlphabet.encoded(CollectionOfOne(byte)))
        }
        var learner = MergeLearner(words: words, byteIDs: byteIDs)
        var merges: [(String, String)] = []
        // Two merges may spell the same token; a special token may be spelled by one too.
        var ids: [[UInt8]: Int32] = [:]
        for (id, token) in vocabulary.enumerated() { ids[Array(token.utf8)] = Int32(id) }
        while vocabulary.count < options.vocabularySize,
            let pair = learner.mostFrequentPair(atLeast: options.minimumFrequency)
        {
            let left = vocabulary[Int(pair.left)]
            let right = vocabulary[Int(pair.right)]
            let spelling = Array(left.utf8) + Array(right.utf8)
            let id = ids[spelling] ?? Int32(vocabulary.count)
            if ids[spelling] == nil {
                ids[spelling] = id
                vocabulary.append(left + right)
            }
            merges.append((left, right))
            learner.merge(pair, into: id)
        }
        return TrainedBPE(vocabulary: vocabulary, merges: merges, specialTokens: options.specialTokens)
    }
}
