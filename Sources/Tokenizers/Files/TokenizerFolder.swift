import Foundation

/// A folder with a tokenizer: finds the best file in it and describes the tokenizer as a `tokenizer.json` would.
///
/// A vocabulary alone does not say how text is normalised and split; that is a property of the `tokenizer_class`, and
/// is taken from what transformers does for it (`convert_slow_tokenizer` and the tokenizer classes). A class that is
/// not known here is an error, since a guess would give wrong ids silently.
struct TokenizerFolder {
    private let url: URL

    private static let sentencePieceNames = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"]

    init(_ url: URL) { self.url = url }

    /// The description of the best tokenizer in the folder.
    func description() throws -> JSONNode {
        let best = file("tokenizer.json")
        if exists(best) { return try JSONNode(contentsOf: best, decimals: .stepwise) }
        for name in Self.sentencePieceNames where exists(file(name)) { return try bare().model(file(name)) }
        if exists(file("vocab.json")), exists(file("merges.txt")) {
            return try bare().vocabularyAndMerges(file("vocab.json"), file("merges.txt"))
        }
        if exists(file("vocab.txt")) { return try bare().wordList(file("vocab.txt")) }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: url.path)) ?? []
        let tiktoken = names.filter { $0.hasSuffix(".tiktoken") }.sorted()
        if tiktoken.count == 1 { return try bare().tiktoken(file(tiktoken[0])) }
        throw TokenizerError(
            .unreadable, file: url.path,
            tiktoken.isEmpty
                ? "holds no tokenizer: looked for tokenizer.json, \(Self.sentencePieceNames.joined(separator: ", ")), "
                    + "vocab.json with merges.txt, vocab.txt and *.tiktoken"
                : "holds several tiktoken files: \(tiktoken.joined(separator: ", ")); name one of them")
    }

    /// The description of the tokenizer in one file, told by its name.
    static func description(file url: URL) throws -> JSONNode {
        let folder = TokenizerFolder(url.deletingLastPathComponent())
        switch url.pathExtension {
        case "model": return try folder.bare().model(url)
        case "tiktoken": return try folder.bare().tiktoken(url)
        case "txt" where url.lastPathComponent == "vocab.txt": return try folder.bare().wordList(url)
        case "json" where url.lastPathComponent == "vocab.json":
            return try folder.bare().vocabularyAndMerges(url, folder.file("merges.txt"))
        default: return try JSONNode(contentsOf: url, decimals: .stepwise)
        }
    }

    private func file(_ name: String) -> URL { url.appending(path: name) }

    private func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

    private func bare() throws -> BareVocabulary {
        BareVocabulary(configuration: try TokenizerConfiguration(folder: url))
    }
}
