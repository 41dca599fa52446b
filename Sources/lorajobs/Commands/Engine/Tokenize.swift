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
            then has "type_ids" too.
            """)

    @Option(name: .long, help: ArgumentHelp("A folder with a tokenizer, or the file itself.", valueName: "dir|file"))
    var tokenizer: String
    @Flag(name: .long, help: "Add the tokenizer's special tokens.") var special = false
    @Flag(name: .long, help: "Also write the ids decoded again.") var decode = false

    mutating func run() throws {
        let tokenizer = try Self.load(CommandLineFile.url(tokenizer), named: tokenizer)
        var number = 0
        while let line = readLine(strippingNewline: true) {
            number += 1
            if line.isEmpty { continue }
            guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
                let text = object["text"] as? String
            else { throw CommandFailure(.invalidInput, "standard input:\(number): expected {\"text\": …}") }
            let pair = object["pair"] as? String
            let encoding =
                pair.map { tokenizer.encode(text, $0, addSpecialTokens: special) }
                ?? tokenizer.encode(text, addSpecialTokens: special)
            var members: [String: JSON] = [
                "ids": .array(encoding.ids.map { .integer(Int($0)) }),
                "tokens": .array(encoding.tokens.map { .string($0) }),
                "offsets": .array(
                    encoding.offsets.map { .array([.integer($0.lowerBound), .integer($0.upperBound)]) }),
            ]
            if pair != nil { members["type_ids"] = .array(encoding.typeIDs.map { .integer(Int($0)) }) }
            if decode {
                members["decoded"] = .string(tokenizer.decode(encoding.ids, skipSpecialTokens: false))
            }
            try StandardOutput.line(JSON.object(members).text())
        }
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
            guard let data = FileManager.default.contents(atPath: CommandLineFile.url(file).path) else {
                throw CommandFailure(.notFound, "\(file): no such file, or not readable")
            }
            guard let text = String(data: data, encoding: .utf8) else {
                throw CommandFailure(.invalidInput, "\(file) is not valid UTF-8")
            }
            trainer.add(text)
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
