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

/// Cuts with the scanner for CLIP's pattern; white space is dropped.
struct ClipScannerPreTokenizer: PreTokenizer {
    private let classes = ScalarClasses.shared

    func preTokenize(_ text: inout PreTokenizedText) {
        text.split { utf8, keep in
            var start = 0
            while let match = PatternScanner.clipMatch(utf8, from: start, classes) {
                keep(match)
                start = match.upperBound
            }
        }
    }
}
