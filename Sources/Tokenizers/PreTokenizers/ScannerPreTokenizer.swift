/// Cuts with a hand-written scanner; every character stays in some piece.
struct ScannerPreTokenizer: PreTokenizer {
    let scanner: PatternScanner
    private let classes = ScalarClasses.shared

    init(scanner: PatternScanner) { self.scanner = scanner }

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            while start < utf8.count {
                let end = scanner.end(of: utf8, from: start, classes)
                keep(start..<end)
                start = end
            }
        }
    }
}
