package import Foundation
import Synchronization

/// A tokenizer read from a Hugging Face `tokenizer.json`, or from the older files that hold a vocabulary alone, giving
/// the ids, tokens and offsets that Hugging Face gives.
///
/// One object may be used from many threads at once; each call borrows working memory, with its cache of words, from a
/// small pool. Components it does not know are errors when the file is read, never guesses.
package final class Tokenizer: Sendable {
    let normalizer: NormalizerChain?
    let preTokenizers: [any PreTokenizer]
    /// Set when the only pre-tokenizer is a scanner, whose pieces then go straight to the model.
    let scanner: PatternScanner?
    let model: any TokenModel
    let added: AddedVocabulary
    let postProcessors: [any PostProcessor]
    let arrangement: Arrangement
    /// The ids that ``arrangement`` puts around a single text.
    let affixes: (prefix: [Int32], suffix: [Int32])
    let decoders: [any TokenDecoder]
    let hasDecoder: Bool
    let classes = ScalarClasses.shared
    let pool = Mutex<[EncodingSession]>([])

    /// One more than the highest id, added tokens included: the number of rows an embedding needs.
    package let vocabularySize: Int
    /// The added tokens, in the order of the file.
    package var addedTokens: [AddedToken] { added.tokens }
    /// What the file says about truncation; applied only by ``encode(batch:addSpecialTokens:truncation:padding:)``.
    package let truncation: TruncationSettings?
    /// What the file says about padding; applied only by ``encode(batch:addSpecialTokens:truncation:padding:)``.
    package let padding: PaddingSettings?
    /// The ids of the tokens that `tokenizer_config.json`, or else `special_tokens_map.json`, names.
    package let bosTokenID: Int32?
    package let eosTokenID: Int32?
    package let padTokenID: Int32?
    package let unkTokenID: Int32?

    /// Reads a `tokenizer.json`, or a file that holds a vocabulary: a SentencePiece model, `vocab.txt` or a tiktoken file.
    ///
    /// The names of the special tokens are in the files beside it; see ``load(folder:)``.
    ///
    /// - Throws: ``TokenizerError`` naming the file and the JSON pointer of what is wrong or not supported.
    package convenience init(file: URL) throws {
        try self.init(description: try TokenizerFolder.description(file: file), names: SpecialTokenNames())
    }

    /// Reads the best tokenizer file of a folder with, where present, `tokenizer_config.json` and
    /// `special_tokens_map.json`.
    ///
    /// The best is `tokenizer.json`; without it, a SentencePiece model, `vocab.json` with `merges.txt`, `vocab.txt` or
    /// a tiktoken file, completed as transformers completes them for the `tokenizer_class` of the configuration.
    ///
    /// - Throws: ``TokenizerError`` naming the file and the JSON pointer of what is wrong or not supported.
    package static func load(folder: URL) throws -> Tokenizer {
        let names = try SpecialTokenNames(folder: folder)
        return try Tokenizer(description: try TokenizerFolder(folder).description(), names: names)
    }

    /// Builds the tokenizer that `root` describes in the form of a `tokenizer.json`.
    init(description root: JSONNode, names: SpecialTokenNames) throws {
        try root.allow(
            only: "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model")
        let parsedModel = try ModelRegistry.model(from: try root.required("model"))
        let vocabulary = parsedModel.vocabulary
        normalizer = try root.optional("normalizer").map {
            NormalizerChain(steps: try NormalizerRegistry.steps(from: $0))
        }
        added = try AddedVocabulary(from: try root.optional("added_tokens"), vocabulary, normalizer: normalizer)
        var steps = try root.optional("pre_tokenizer").map(PreTokenizerRegistry.steps) ?? []
        if steps.last is ByteMappingPreTokenizer, let bytesModel = parsedModel.takingBytes() {
            steps.removeLast()
            model = bytesModel
        } else {
            model = parsedModel
        }
        preTokenizers = steps
        scanner = steps.count == 1 ? (steps[0] as? ScannerPreTokenizer)?.scanner : nil
        let added = added
        postProcessors =
            try root.optional("post_processor").map {
                try PostProcessorRegistry.steps(from: $0) { added.token(of: $0)?.content ?? vocabulary.token(of: $0) }
            } ?? []
        arrangement = postProcessors.compactMap(\.arrangement).first ?? .plain
        affixes = arrangement.affixes
        let decoder = try root.optional("decoder")
        decoders = try decoder.map(DecoderRegistry.steps) ?? []
        hasDecoder = decoder != nil
        truncation = try root.optional("truncation").map(TruncationSettings.init(from:))
        padding = try root.optional("padding").map(PaddingSettings.init(from:))
        vocabularySize = max(vocabulary.tokens.count, Int(added.tokens.map(\.id).max() ?? -1) + 1)
        func id(_ name: String?) -> Int32? { name.flatMap { added.id(of: $0) ?? vocabulary.id(of: $0) } }
        bosTokenID = id(names.bos)
        eosTokenID = id(names.eos)
        padTokenID = id(names.pad)
        unkTokenID = id(names.unk)
    }

    /// The id of a token, given as the vocabulary spells it.
    package func id(of token: String) -> Int32? { added.id(of: token) ?? model.vocabulary.id(of: token) }

    /// The token of an id as the vocabulary spells it, or `nil` where there is none.
    package func token(of id: Int32) -> String? { added.token(of: id)?.content ?? model.vocabulary.token(of: id) }
}
