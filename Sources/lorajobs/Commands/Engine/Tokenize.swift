import ArgumentParser
import Foundation
import PipelineSpec
import Stages
import Tokenizers

struct Tokenize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn text into tokens, or train a tokenizer.",
        subcommands: [TokenizeText.self, TokenizeTrain.self], defaultSubcommand: TokenizeText.self)
}

struct TokenizeText: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "text",
        abstract: #"Read {"text": …} lines from standard input, write {"ids", "tokens", "offsets"} lines."#,
        discussion: """
            Offsets count Unicode scalars, as Hugging Face's do in Python. A line with "pair" is two texts; the answer \
            then has "type_ids" too. With --batch all lines are one batch, cut and filled to length as the tokenizer's \
            own file says; answers then have "type_ids" and "attention_mask".
            """)

    @Option(name: .long, help: ArgumentHelp("A folder with a tokenizer, or the file itself.", valueName: "dir|file"))
    var tokenizer: String
    @Flag(name: .long, help: "Add the tokenizer's special tokens.") var special = false
    @Flag(name: .long, help: "Also write the ids decoded again.") var decode = false
    @Flag(name: .long, help: "Apply the truncation and the padding that the tokenizer's file sets.") var batch = false

    mutating func run() throws {
        let tokenizer = try Self.load(CommandLineFile.url(tokenizer), named: tokenizer)
        var number = 0
        var texts: [(first: String, second: String?)] = []
        while let line = readLine(strippingNewline: true) {
            number += 1
            if line.isEmpty { continue }
            guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
                let text = object["text"] as? String
            else { throw CommandFailure(.invalidInput, "standard input:\(number): expected {\"text\": …}") }
            let pair = object["pair"] as? String
            guard !batch else {
                texts.append((text, pair))
                continue
            }
            let encoding =
                pair.map { tokenizer.encode(text, $0, addSpecialTokens: special) }
                ?? tokenizer.encode(text, addSpecialTokens: special)
            try write(encoding, hasTypes: pair != nil, tokenizer)
        }
        guard batch else { return }
        let encodings = try Engine.run { try tokenizer.encode(batch: texts, addSpecialTokens: special) }
        for encoding in encodings { try write(encoding, hasTypes: true, tokenizer) }
    }

    private func write(_ encoding: Encoding, hasTypes: Bool, _ tokenizer: Tokenizer) throws {
        func integers(_ values: [Int32]) -> JSON { .array(values.map { .integer(Int($0)) }) }
        var members: [String: JSON] = [
            "ids": integers(encoding.ids), "tokens": .array(encoding.tokens.map { .string($0) }),
            "offsets": .array(encoding.offsets.map { .array([.integer($0.lowerBound), .integer($0.upperBound)]) }),
        ]
        if hasTypes { members["type_ids"] = integers(encoding.typeIDs) }
        if batch { members["attention_mask"] = integers(encoding.attentionMask) }
        if decode { members["decoded"] = .string(tokenizer.decode(encoding.ids, skipSpecialTokens: false)) }
        try StandardOutput.line(JSON.object(members).text())
    }

    /// Reads a tokenizer from a folder or a file; `name` is what the user typed.
    static func load(_ url: URL, named name: String) throws -> Tokenizer {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else {
            throw CommandFailure(.notFound, "\(name): no such file or folder")
        }
        return try Engine.run { try isFolder.boolValue ? Tokenizer.load(folder: url) : Tokenizer(file: url) }
    }
}

struct TokenizeTrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a byte-level BPE on text files; write tokenizer.json and tokenizer_config.json.",
        discussion: "The same files and options give the same bytes.")

    @Argument(help: "UTF-8 text files.") var files: [String]
    @Option(name: .long, help: "Entries of the vocabulary, the 256 bytes and the end token included.")
    var vocabSize: Int
    @Option(name: .long, help: ArgumentHelp("The folder to write to.", valueName: "dir"))
    var out: String
    @Option(name: .long, help: "The token that ends a text, and begins one without a prompt.")
    var endToken = "<|endoftext|>"
    @Option(name: .long, help: "The context length to record.")
    var maxLength: Int?

    mutating func run() throws {
        var trainer = try Engine.run {
            try ByteLevelBPETrainer(.init(vocabularySize: vocabSize, specialTokens: [endToken]))
        }
        for file in files {
            let url = CommandLineFile.url(file)
            guard FileManager.default.isReadableFile(atPath: url.path) else {
                throw CommandFailure(.notFound, "\(file): no such file, or not readable")
            }
            try Engine.run { try trainer.add(file: url) }
        }
        let trained = trainer.train()
        let folder = CommandLineFile.url(out)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Engine.run {
            try trained.write(to: folder, roles: .init(bos: endToken, eos: endToken, maximumLength: maxLength))
        }
        try StandardOutput.line("\(trained.vocabulary.count) tokens in \(folder.path)")
    }
}
