package import Foundation

/// Where the paths a manifest names really lead.
package enum FilePaths {
    /// The absolute path behind `path`, every symlink followed; `nil` when nothing is there.
    package static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// `path` as an absolute path; a relative one starts at `folder`. Empty and `.` steps are dropped; `..` and
    /// symlinks are left for ``realPath(_:)``, which alone knows where they lead.
    package static func absolute(_ path: String, in folder: URL) -> String {
        let whole = path.hasPrefix("/") ? path : folder.path(percentEncoded: false) + "/" + path
        return "/" + whole.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// The longest leading part of `path` that exists.
    static func nearestExistingParent(of path: String) -> String {
        var components = path.split(separator: "/", omittingEmptySubsequences: true)
        while !components.isEmpty {
            components.removeLast()
            let parent = "/" + components.joined(separator: "/")
            if FileManager.default.fileExists(atPath: parent) { return parent }
        }
        return "/"
    }

    /// Whether `path` exists and is a folder, symlinks followed.
    static func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }

    /// Whether `path` is a regular file, symlinks followed.
    static func isRegularFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }
}

/// The folders that what a manifest names must lie in.
package struct PathRoots: Sendable, Equatable {
    /// Absolute paths, symlinks resolved; roots that do not exist are left out.
    package let paths: [String]

    /// The roots at `paths`.
    package init(_ paths: [String]) { self.paths = paths.compactMap { FilePaths.realPath($0) } }

    /// Whether `realPath`, which must be resolved, is a root or lies inside one.
    package func contain(_ realPath: String) -> Bool {
        paths.contains { root in
            realPath == root || realPath.hasPrefix(root.hasSuffix("/") ? root : root + "/")
        }
    }
}

/// The local cache of the Hugging Face hub: read, never written.
package struct HuggingFaceCache: Sendable, Equatable {
    /// The `hub` folder, which need not exist.
    package let root: String

    /// The cache as `HF_HUB_CACHE`, `HF_HOME` or the home folder place it.
    package init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let home = value("HOME") ?? NSHomeDirectory()
        if let hub = value("HF_HUB_CACHE") {
            root = hub
        } else if let base = value("HF_HOME") {
            root = base + "/hub"
        } else {
            root = (value("XDG_CACHE_HOME") ?? home + "/.cache") + "/huggingface/hub"
        }
    }

    /// Whether `text` is spelled like a model id: `gpt2`, `Qwen/Qwen3-0.6B`.
    static func isModelID(_ text: String) -> Bool {
        text.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?/#) != nil && !text.contains("..")
    }

    /// The newest downloaded snapshot of a model's main branch, as an absolute path; `nil` when it is not there.
    package func snapshot(of id: String) -> String? {
        guard Self.isModelID(id) else { return nil }
        let folder = root + "/models--" + id.replacing("/", with: "--")
        guard let data = FileManager.default.contents(atPath: folder + "/refs/main") else { return nil }
        let revision = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard revision.wholeMatch(of: #/[0-9A-Za-z]+/#) != nil else { return nil }
        let snapshot = folder + "/snapshots/" + revision
        return FilePaths.isFolder(snapshot) ? snapshot : nil
    }
}
