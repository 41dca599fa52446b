/// The `README.md` of an adapter or a checkpoint: the head that model hubs read, and what a person wants to know.
package struct ModelCard: Sendable {
    /// A part of the body.
    package struct Section: Sendable {
        /// What a section shows.
        package enum Content: Sendable {
            /// A paragraph in Markdown.
            case text(String)
            /// Names and values, such as the lineage.
            case list([(name: String, value: String)])
            /// Such as metrics; each row has as many cells as the header.
            case table(header: [String], rows: [[String]])
            /// Text to be shown letter by letter, such as a command or a manifest.
            case code(String, language: String)
        }

        package let title: String
        package let content: Content

        package init(_ title: String, _ content: Content) {
            self.title = title
            self.content = content
        }
    }

    package var title: String
    /// A path or hub name of the base.
    package var base: String?
    /// What loads it: `peft` for an adapter, `transformers` for a checkpoint.
    package var library: String
    package var pipelineTag: String?
    /// Besides the ones that follow from the base and the library.
    package var tags: [String]
    package var sections: [Section]

    package init(
        title: String, base: String?, library: String = "peft", pipelineTag: String? = "text-generation",
        tags: [String] = ["lora"], sections: [Section]
    ) {
        self.title = title
        self.base = base
        self.library = library
        self.pipelineTag = pipelineTag
        self.tags = tags
        self.sections = sections
    }

    /// The whole text, with the YAML head as PEFT writes it: keys and tags sorted.
    package var text: String {
        var lines = ["---"]
        if let base { lines.append("base_model: \(Self.yaml(base))") }
        lines.append("library_name: \(Self.yaml(library))")
        if let pipelineTag { lines.append("pipeline_tag: \(Self.yaml(pipelineTag))") }
        var allTags = Set(tags).union(["transformers"])
        if let base { allTags.insert("base_model:\(library == "peft" ? "adapter" : "finetune"):\(base)") }
        lines += ["tags:"] + allTags.sorted().map { "- \(Self.yaml($0))" } + ["---", "", "# \(title)"]
        for section in sections { lines += ["", "## \(section.title)", ""] + Self.lines(of: section.content) }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func lines(of content: Section.Content) -> [String] {
        switch content {
        case .text(let text): return [text]
        case .list(let items): return items.map { "- **\($0.name):** \($0.value)" }
        case .code(let code, let language):
            // A fence longer than any in the text, so that nothing in it can end the block.
            let longest = code.split(whereSeparator: { $0 != "`" }).map(\.count).max() ?? 0
            let fence = String(repeating: "`", count: max(3, longest + 1))
            return [fence + language, code, fence]
        case .table(let header, let rows):
            precondition(
                rows.allSatisfy { $0.count == header.count }, "ModelCard: a row of a table has too many or few cells")
            let ruler = header.indices.map { $0 == 0 ? "---" : "---:" }
            return ([header, ruler] + rows).map { cells in
                "| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |"
            }
        }
    }

    /// A YAML scalar: plain where nothing in it has a meaning of its own, else in single quotes.
    private static func yaml(_ text: String) -> String {
        let plain = text.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "-_./".utf8.contains(byte)
        }
        let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(text.lowercased())
        let startsWithLetter = text.first.map { $0.isLetter || $0 == "/" } ?? false
        return plain && !reserved && startsWithLetter ? text : "'\(text.replacing("'", with: "''"))'"
    }
}
