import Foundation
import PipelineSpec

/// Notices paths that were meant to start where the person stands, and not at the workspace.
enum CallersFolder {
    /// A sentence for each path that the workspace does not have and the caller's folder has.
    static func warnings(_ judgement: Judgement, workspace: Workspace, folder: URL) -> [String] {
        // Whoever stands in the workspace means it.
        if Workspace(root: folder).root == workspace.root { return [] }
        let missing = judgement.findings.filter { $0.code == .pathNotFound }
        guard !missing.isEmpty, let root = try? DocumentReader().read(judgement.source.data) else { return [] }
        let here = folder.absoluteURL.standardizedFileURL.path(percentEncoded: false)
        return missing.compactMap { finding in
            guard let text = value(at: finding.pointer, in: root), !text.hasPrefix("/") else { return nil }
            let path = FilePaths.absolute(text, in: folder)
            guard exists(path) else { return nil }
            let shown = PrintableText.line(text, limit: 80)
            return "\(shown) exists in \(here), but paths in a manifest start at the workspace "
                + "\(workspace.root.path(percentEncoded: false)); write \(ManifestPath.rewritten(path, for: workspace))"
        }
    }

    /// Whether something is at the path, or at the folder of a pattern.
    static func exists(_ path: String) -> Bool {
        if access(path, F_OK) == 0 { return true }
        guard path.contains(where: { "*?[".contains($0) }) else { return false }
        var buffer = glob_t()
        defer { globfree(&buffer) }
        return glob(path.replacing("**", with: "*"), 0, nil, &buffer) == 0 && buffer.gl_pathc > 0
    }

    /// The text that a JSON pointer leads to.
    ///
    /// `data` and `data.train` may be a list or a single text.
    private static func value(at pointer: String, in root: SourceNode) -> String? {
        var node: SourceNode? = root
        for step in pointer.split(separator: "/") {
            let key = step.replacing("~1", with: "/").replacing("~0", with: "~")
            if let elements = node?.elements, let index = Int(key), elements.indices.contains(index) {
                node = elements[index]
            } else {
                node = node?[String(key)]
            }
        }
        return node?.scalar?.text ?? node?.elements?.first?.scalar?.text
    }
}

/// How a manifest names a file that a person named from where they stand.
enum ManifestPath {
    /// The absolute `path`, relative to the workspace where it lies inside.
    static func rewritten(_ path: String, for workspace: Workspace) -> String {
        workspace.relativePath(URL(filePath: path))
    }

    /// What to write for `text`: the file in the caller's folder if there is one, else the text as it is, which
    /// may name something in the workspace, a model of the Hugging Face cache, or the store.
    static func chosen(_ text: String, for workspace: Workspace, from folder: URL) -> String {
        if text.hasPrefix("store:") { return text }
        let path = FilePaths.absolute(text, in: folder)
        guard CallersFolder.exists(path) else { return text }
        // A pattern has no real path; the folder before it has.
        let steps = path.split(separator: "/").map(String.init)
        let plain = steps.prefix { step in !step.contains { "*?[".contains($0) } }
        let rest = steps.dropFirst(plain.count)
        let real = FilePaths.realPath("/" + plain.joined(separator: "/")) ?? "/" + plain.joined(separator: "/")
        return rewritten(([real] + rest).joined(separator: "/"), for: workspace)
    }
}
