package import Foundation

/// The data files of a job, patterns expanded: absolute paths with symlinks resolved, sorted, each once.
package struct DataFiles: Sendable, Equatable {
    package private(set) var train: [String] = []
    /// Empty where the split is a share of the training files.
    package private(set) var validation: [String] = []
    package private(set) var test: [String] = []
    /// The files of suites by their names, and under ``retention`` those of the general text.
    package private(set) var evaluation: [String: [String]] = [:]

    /// What no suite is called.
    package static let retention = ".retention"

    /// The files by key of the manifest: `train`, and `validation` and `test` where they have files of their own.
    package var bySplit: [String: [String]] {
        ["train": train, "validation": validation, "test": test].filter { !$0.value.isEmpty }
    }

    /// Expands the patterns of `manifest` as they match now, without what `data.exclude` and `data.window` leave out.
    ///
    /// - Parameter now: Where the window ends.
    /// - Throws: ``InvalidFile`` when a pattern matches nothing, or what it matches lies outside `roots` or is
    ///   no regular file.
    package init(of manifest: JobManifest, roots: PathRoots, now: Date = Date()) throws(InvalidFile) {
        var findings: [Finding] = []
        func expand(_ patterns: [String], _ key: String) -> [String] {
            var files: Set<String> = []
            for pattern in patterns {
                switch Self.expand(pattern, roots: roots) {
                case .success(let matches): files.formUnion(matches)
                case .failure(let problem):
                    let pointer = "/" + key.replacing(".", with: "/")
                    findings.append(problem.finding(key, at: nil, pointer))

                }
            }
            return files.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
        train = expand(manifest.data.train, "data.train")
        do {
            let excluded = try Self.excluded(manifest.data.exclude, roots: roots)
            train.removeAll(where: excluded.contains)
        } catch {
            findings.append(error.finding("data.exclude", at: nil, "/data/exclude"))
        }
        let hasFiles = !train.isEmpty
        if let window = manifest.data.windowSeconds {
            if let undated = train.first(where: { DatedName.day(of: $0) == nil }) {
                findings.append(
                    Finding(
                        .undatedFile, pointer: "/data/window",
                        "data.window: \(PrintableText.line(undated, limit: 100)) bears no date such as 2026-11-21 in its name",
                        hint: "put the date into the names of files, or leave data.window out"))
            }
            // The day on which the window begins is in it.
            let first = now.addingTimeInterval(-window - 86_400)
            train.removeAll { DatedName.day(of: $0).map { $0 <= first } ?? false }
        }
        if train.isEmpty, findings.isEmpty, !manifest.data.train.isEmpty {
            let key = hasFiles ? "window" : "exclude"
            findings.append(
                Finding(
                    hasFiles ? .emptyWindow : .pathNotFound, pointer: "/data/\(key)",
                    hasFiles
                        ? "data.window: every file is older than the window, so none is left to train on"
                        : "data.exclude: every file of data.train is left out, so none is left to train on",
                    hint: hasFiles ? "make it longer, or look why there are no newer files" : nil))
        }
        if case .files(let patterns) = manifest.data.validation { validation = expand(patterns, "data.validation") }
        if case .files(let patterns) = manifest.data.test { test = expand(patterns, "data.test") }
        for (name, suite) in manifest.evaluate.suites {
            evaluation[name] = expand(suite.data, "evaluate.suites.\(name)")
        }
        if !manifest.evaluate.retention.isEmpty {
            evaluation[Self.retention] = expand(manifest.evaluate.retention, "evaluate.retention")
        }
        if !findings.isEmpty { throw InvalidFile(findings) }
    }

    /// The files that patterns exclude; one that matches nothing excludes nothing.
    ///
    /// - Throws: What keeps a pattern from being followed: nobody could say what it was to leave out.
    static func excluded(_ patterns: [String], roots: PathRoots) throws(PathProblem) -> Set<String> {
        var files: Set<String> = []
        for pattern in patterns {
            switch expand(pattern, roots: roots) {
            case .success(let matches): files.formUnion(matches)
            case .failure(.notFound): break
            case .failure(let problem): throw problem
            }
        }
        return files
    }

    /// The regular files behind one absolute path or pattern.
    static func expand(_ path: String, roots: PathRoots) -> Result<[String], PathProblem> {
        let pattern = FilePattern(path)
        let isPattern = FilePattern.isPattern(path) && !FileManager.default.fileExists(atPath: path)
        if isPattern {
            // Nothing outside the roots is listed, not even to say that nothing matched.
            let prefix = pattern.fixedPrefix
            guard let real = FilePaths.realPath(prefix) else { return .failure(.notFound(prefix, isPattern: false)) }
            guard roots.contain(real) else { return .failure(.outsideRoots(real, roots)) }
        }
        guard let matches = isPattern ? pattern.matches() : [path] else { return .failure(.tooBroad(path)) }
        if matches.isEmpty { return .failure(.notFound(path, isPattern: true)) }
        var files: [String] = []
        for match in matches {
            guard let real = FilePaths.realPath(match) else { return .failure(.notFound(match, isPattern: false)) }
            guard roots.contain(real) else { return .failure(.outsideRoots(real, roots)) }
            guard FilePaths.isRegularFile(real) else {
                // A pattern may well match a folder among files; a path that names one is a mistake.
                if isPattern, FilePaths.isFolder(real) { continue }
                return .failure(.notAFile(match, isFolder: FilePaths.isFolder(real)))
            }
            files.append(real)
        }
        return files.isEmpty ? .failure(.notFound(path, isPattern: true)) : .success(files)
    }
}

/// What is wrong with a path a manifest names.
enum PathProblem: Error {
    case notFound(String, isPattern: Bool)
    case outsideRoots(String, PathRoots)
    case notAFile(String, isFolder: Bool)
    case tooBroad(String)

    /// The finding about the value of `key`.
    func finding(_ key: String, at mark: SourceMark?, _ pointer: String) -> Finding {
        switch self {
        case .notFound(let path, let isPattern):
            let parent = FilePaths.nearestExistingParent(of: isPattern ? FilePattern(path).fixedPrefix + "/x" : path)
            return Finding(
                .pathNotFound, at: mark, pointer: pointer,
                isPattern ? "\(key): no file matches \(shown(path))" : "\(key): there is no \(shown(path))",
                hint: isPattern ? "looked in \(parent)" : "\(parent) exists, what follows does not")
        case .outsideRoots(let path, _):
            return Finding(
                .pathOutsideRoots, at: mark, pointer: pointer,
                "\(key): \(shown(path)) lies outside the workspace, the Hugging Face cache and the allowed roots",
                hint: "list its folder under roots: in lorajobs.yaml, or run: lorajobs init --allow-root DIR")
        case .notAFile(let path, let isFolder):
            return Finding(
                .notARegularFile, at: mark, pointer: pointer,
                "\(key): \(shown(path)) is \(isFolder ? "a folder" : "no regular file")",
                hint: isFolder ? "name its files: \(PrintableText.line(path, limit: 120))/*.jsonl" : nil)
        case .tooBroad(let path):
            return Finding(
                .invalidValue, at: mark, pointer: pointer,
                "\(key): \(shown(path)) looks into too many folders", hint: "start the pattern deeper")
        }
    }

    private func shown(_ path: String) -> String {
        // The end of a path says more than its beginning.
        PrintableText.line(path.count > 100 ? "…" + path.suffix(99) : path, limit: 100)
    }
}

/// The date in a file's path: the last one there is, as `2026-11-21`, `2026_11_21`, `2026/11/21` or `20261121`.
enum DatedName {
    /// The beginning of that day, in UTC.
    static func day(of path: String) -> Date? {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        for match in path.matches(of: #/((?:19|20)[0-9]{2})([-_\/]?)([0-9]{2})\2([0-9]{2})(?![0-9])/#).reversed() {
            guard let year = Int(match.1), let month = Int(match.3), let day = Int(match.4) else { continue }
            let components = DateComponents(year: year, month: month, day: day)
            guard let date = calendar.date(from: components),
                calendar.dateComponents([.year, .month, .day], from: date) == components
            else { continue }
            return date
        }
        return nil
    }
}
