import Foundation

/// A folder of one operation under the store's `tmp/`.
///
/// It is locked for as long as this value lives, so that a sweep knows by the kernel whether anyone still works in it,
/// and it is removed at the end.
struct ScratchFolder: ~Copyable {
    let url: URL
    private let lock: OpenFile

    init(in temporary: URL) throws {
        try FileTree.makeFolder(temporary, isDurable: false)
        while true {
            let url = temporary.appending(path: UUID().uuidString.lowercased())
            guard mkdir(url.path, 0o700) == 0 else { throw ArtifactError.system("make the folder", url.path, errno) }
            // A sweep may come between making and locking: then the folder is gone, or no more the one opened.
            do {
                let lock = try OpenFile(url.path, O_RDONLY | O_DIRECTORY)
                try lock.lock()
                let opened = try lock.status()
                if let there = try FileTree.status(url), there.st_ino == opened.st_ino {
                    self.url = url
                    self.lock = lock
                    return
                }
            } catch let error as ArtifactError where error.code == .notFound {
                continue
            }
        }
    }

    deinit {
        // What cannot be removed now is left to the next sweep.
        try? FileTree.remove(url)
    }

    /// Removes what no live process works in; returns the names of what was removed.
    static func sweep(_ temporary: URL) throws -> [String] {
        var removed: [String] = []
        for name in try FileTree.names(in: temporary) {
            let url = temporary.appending(path: name)
            // Only folders are ever made there; anything else is not the store's.
            guard try FileTree.isFolder(at: url) else { continue }
            do {
                let lock = try OpenFile(url.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
                guard try lock.tryLock() else { continue }
                try FileTree.remove(url)
                removed.append(name)
            } catch let error as ArtifactError where error.code == .notFound {
                // Its owner finished first.
                continue
            }
        }
        return removed
    }
}
