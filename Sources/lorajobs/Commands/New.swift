import ArgumentParser
import Foundation
import PipelineSpec

struct New: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a manifest that is valid as it stands; hints in it say what else could be set.")

    @OptionGroup var options: WorkspaceOptions

    @Argument(help: "The adapter's name in the store.")
    var name: String

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The checkpoint to adapt: a Hugging Face folder, a model id in its cache, or store:NAME.", valueName: "dir")
    )
    var base: String

    @Option(
        name: .long, parsing: .upToNextOption,
        help: ArgumentHelp(
            "Training data: files or patterns in quotation marks.", valueName: "file"))
    var data: [String]

    @Option(name: .long, help: ArgumentHelp("Where to write; - is standard output.", valueName: "out"))
    var file: String?

    mutating func run() throws {
        let setup = try WorkspaceSetup(options.locate())
        let here = URL(filePath: FileManager.default.currentDirectoryPath, directoryHint: .isDirectory)
        let manifest = ManifestTemplate(
            name: name, base: ManifestPath.chosen(base, for: setup.workspace, from: here),
            data: data.map { ManifestPath.chosen($0, for: setup.workspace, from: here) })
        let target = file ?? "\(name).yaml"
        let judgement = ManifestSource(path: target, data: Data(manifest.text.utf8)).judge(setup)
        guard judgement.resolved != nil else {
            Talk.write(judgement.text(consequence: "Nothing was written."))
            return try ExitStatus.invalidInput.end()
        }
        if target == "-" { return try StandardOutput.write(manifest.text) }
        let url = URL(filePath: target)
        guard access(target, F_OK) != 0 else {
            throw CommandFailure(.cannotWrite, "\(target) exists; name another file with --file, or remove it")
        }
        try AtomicFile.write(Data(manifest.text.utf8), to: url)
        try StandardOutput.line(target)
        Talk.say("next: lorajobs submit \(target)")
    }
}

/// The three lines of a manifest, and hints.
struct ManifestTemplate {
    var name: String
    /// As the manifest writes them: relative to the workspace, or absolute.
    var base: String
    var data: [String]

    var text: String {
        let files = data.count == 1 ? Self.scalar(data[0]) : "[" + data.map(Self.scalar).joined(separator: ", ") + "]"
        return """
            name: \(Self.scalar(name))
            base: \(Self.scalar(base))
            data: \(files)

            # Everything else has a default: lorajobs config prints them, lorajobs schema is for your editor.
            # Paths start at the workspace. Remove the # in front of what you want to change.
            #
            # adapter: {rank: 8, alpha: 16, targets: all-linear}
            # train: {epochs: 3, learning_rate: 2e-4, batch_tokens: 4096, seed: 42}
            # merge: true                # also publish the merged checkpoint
            # run: {priority: 0, threads: 2, timeout: 8h}

            """
    }

    /// The text as a YAML scalar: in quotation marks unless nothing can be mistaken.
    static func scalar(_ text: String) -> String {
        let isPlain = text.wholeMatch(of: #/[A-Za-z.\/][A-Za-z0-9._\/+-]*/#) != nil
        // `no` is a word and `1e3` is not: the reader of manifests decides.
        let isWord = (try? DocumentReader().read(Data(text.utf8)))?.scalar?.value == .string(text)
        return isPlain && isWord ? text : JSON.string(text).text()
    }
}
