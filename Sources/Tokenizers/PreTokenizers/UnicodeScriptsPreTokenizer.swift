/// `UnicodeScripts`: cuts where the script changes; kana count as Han, and blanks as any script.
struct UnicodeScriptsPreTokenizer: PreTokenizer {
    init(from node: JSONNode) throws {
        try node.allow(only: "type")
        _ = ScriptTable.shared
    }

    func preTokenize(_ text: inout PreTokenizedText) {
        let scripts = ScriptTable.shared
        text.split { utf8, keep in
            // What comes before the first character of some script is in no piece, as in the original.
            var start: Int?
            var last: UInt8?
            var index = 0
            while index < utf8.count {
                let (value, length) = UTF8Reading.scalar(at: index, in: utf8)
                let script = scripts[value]
                if script != ScriptTable.any {
                    if script != last {
                        if let start { keep(start..<index) }
                        start = index
                    }
                    last = script
                }
                index += length
            }
            if let start { keep(start..<index) }
        }
    }
}
