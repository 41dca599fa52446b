/// The tokens that Whisper's multilingual vocabulary of 99 languages has beyond its tiktoken file, in the order of their
/// ids.
enum WhisperTokens {
    private static let languages = """
        en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml \
        cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu \
        am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su
        """

    private static let tasks = [
        "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]

    static var all: [String] {
        let times = (0...1500).map { step in
            let hundredths = step * 2
            let fraction = hundredths % 100
            return "<|\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)|>"
        }
        return ["<|endoftext|>", "<|startoftranscript|>"] + languages.split(separator: " ").map { "<|\($0)|>" }
            + tasks + times
    }
}
