import Foundation
import Glibc

/// A tree of files as a disk holds it: nodes by number, so that a name and what it stands for can be lost separately.
struct DiskImage: Sendable {
    struct File: Sendable {
        var bytes: [UInt8] = []
        /// Equal for files that were made by the same changes in the same order; the history, hashed.
        var history: UInt64 = 0
    }

    enum Node: Sendable {
        case file(File)
        case folder([String: Int])
        case symlink(String)
    }

    /// The folder everything lies below.
    static let root = 0

    private(set) var nodes: [Int: Node] = [root: .folder([:])]

    /// A change that a disk makes wholly or not at all, except that a write may be torn.
    enum Change: Sendable {
        case write(node: Int, offset: Int, bytes: [UInt8])
        case truncate(node: Int, length: Int)
        case make(node: Int, Node)
        /// A name in a folder: `nil` removes it.
        case name(folder: Int, String, node: Int?)
        /// Atomic, as rename(2) promises: never in neither place.
        case move(folder: Int, String, toFolder: Int, String, node: Int)

        /// The file whose content changes; `nil` for names.
        var file: Int? {
            switch self {
            case .write(let node, _, _), .truncate(let node, _): node
            case .make, .name, .move: nil
            }
        }

        /// The folders that hold the names.
        var folders: Set<Int> {
            switch self {
            case .name(let folder, _, _): [folder]
            case .move(let from, _, let to, _, _): [from, to]
            case .write, .truncate, .make: []
            }
        }
    }

    /// Makes a change; `id` tells it from others in the history of a file.
    ///
    /// - Parameter torn: Only so many bytes of a write, from its beginning.
    mutating func apply(_ change: Change, id: Int, torn: Int? = nil) {
        switch change {
        case .write(let node, let offset, let bytes):
            guard case .file(var file) = nodes[node] else { return }
            nodes[node] = .symlink("")  // so that the bytes are not copied
            let part = bytes.prefix(torn ?? bytes.count)
            let end = offset + part.count
            if file.bytes.count < end {
                file.bytes.append(contentsOf: repeatElement(0, count: end - file.bytes.count))
            }
            file.bytes.replaceSubrange(offset..<end, with: part)
            file.history = Self.mix(Self.mix(file.history, UInt64(id)), UInt64(torn ?? bytes.count))
            nodes[node] = .file(file)
        case .truncate(let node, let length):
            guard case .file(var file) = nodes[node] else { return }
            nodes[node] = .symlink("")
            if file.bytes.count > length {
                file.bytes.removeLast(file.bytes.count - length)
            } else {
                file.bytes.append(contentsOf: repeatElement(0, count: length - file.bytes.count))
            }
            file.history = Self.mix(file.history, UInt64(id))
            nodes[node] = .file(file)
        case .make(let number, let node):
            nodes[number] = node
        case .name(let folder, let name, let node):
            set(folder, name, node)
        case .move(let from, let old, let to, let new, let node):
            if entry(from, old) == node { set(from, old, nil) }
            set(to, new, node)
        }
    }

    private mutating func set(_ folder: Int, _ name: String, _ node: Int?) {
        guard case .folder(var names) = nodes[folder] else { return }
        nodes[folder] = .symlink("")
        names[name] = node
        nodes[folder] = .folder(names)
    }

    func entry(_ folder: Int, _ name: String) -> Int? {
        if case .folder(let names) = nodes[folder] { names[name] } else { nil }
    }

    /// The folder a path below the root lies in, and its name there.
    func place(_ path: Substring) -> (folder: Int, name: String)? {
        let parts = path.split(separator: "/")
        guard let name = parts.last else { return nil }
        var folder = Self.root
        for part in parts.dropLast() {
            guard let next = entry(folder, String(part)) else { return nil }
            folder = next
        }
        return (folder, String(name))
    }

    func node(at path: Substring) -> Int? {
        guard let (folder, name) = place(path) else { return Self.root }
        return entry(folder, name)
    }

    // MARK: Folders of the real file system

    /// Reads a folder. SQLite's shared memory is left out: it is made anew after a crash.
    ///
    /// - Returns: The image, and the node of each inode.
    static func read(_ folder: URL) throws -> (DiskImage, inodes: [UInt64: Int]) {
        var image = DiskImage()
        var inodes: [UInt64: Int] = [:]
        func visit(_ path: String, _ number: Int) throws {
            for name in try FileManager.default.contentsOfDirectory(atPath: path) where !isIgnored(name) {
                let full = "\(path)/\(name)"
                var status = stat()
                guard lstat(full, &status) == 0 else { continue }
                if let known = inodes[UInt64(status.st_ino)] {
                    image.apply(.name(folder: number, name, node: known), id: 0)
                    continue
                }
                let made = image.nodes.count
                inodes[UInt64(status.st_ino)] = made
                switch status.st_mode & S_IFMT {
                case S_IFDIR:
                    image.apply(.make(node: made, .folder([:])), id: 0)
                    try visit(full, made)
                case S_IFLNK:
                    let target = try FileManager.default.destinationOfSymbolicLink(atPath: full)
                    image.apply(.make(node: made, .symlink(target)), id: 0)
                default:
                    let bytes = [UInt8](try Data(contentsOf: URL(filePath: full)))
                    image.apply(.make(node: made, .file(File(bytes: bytes, history: UInt64(made)))), id: 0)
                }
                image.apply(.name(folder: number, name, node: made), id: 0)
            }
        }
        var status = stat()
        if lstat(folder.path, &status) == 0 { inodes[UInt64(status.st_ino)] = root }
        try visit(folder.path, root)
        return (image, inodes)
    }

    static func isIgnored(_ name: some StringProtocol) -> Bool { name.hasSuffix("-shm") }

    /// Makes the tree below a folder that does not exist yet.
    func write(to folder: URL) throws {
        var written: [Int: String] = [:]
        func visit(_ number: Int, _ path: String) throws {
            switch nodes[number] {
            case .folder(let names):
                guard mkdir(path, 0o755) == 0 else { throw Recording.Malformed(description: "mkdir \(path): \(errno)") }
                for (name, child) in names { try visit(child, "\(path)/\(name)") }
            case .file(let file):
                if let first = written[number] {
                    guard link(first, path) == 0 else { throw Recording.Malformed(description: "link \(path)") }
                    return
                }
                written[number] = path
                // What a script was allowed to do is not recorded.
                let mode: mode_t = file.bytes.starts(with: Array("#!".utf8)) ? 0o755 : 0o644
                let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
                guard descriptor >= 0 else { throw Recording.Malformed(description: "open \(path): \(errno)") }
                defer { close(descriptor) }
                guard Glibc.write(descriptor, file.bytes, file.bytes.count) == file.bytes.count else {
                    throw Recording.Malformed(description: "write \(path)")
                }
            case .symlink(let target):
                guard symlink(target, path) == 0 else { throw Recording.Malformed(description: "symlink \(path)") }
            case nil: break
            }
        }
        try visit(Self.root, folder.path)
    }

    /// Every path, with the bytes of files, the targets of symlinks, and `nil` for folders.
    var listing: [String: [UInt8]?] {
        var found: [String: [UInt8]?] = [:]
        func visit(_ number: Int, _ path: String) {
            switch nodes[number] {
            case .folder(let names):
                if !path.isEmpty { found[path] = .some(nil) }
                for (name, child) in names { visit(child, path + "/" + name) }
            case .file(let file): found[path] = file.bytes
            case .symlink(let target): found[path] = Array(target.utf8)
            case nil: break
            }
        }
        visit(Self.root, "")
        return found
    }

    // MARK: Identity

    /// Equal for trees that look equal; what is not reachable does not count.
    var digest: UInt64 {
        var sum: UInt64 = 0
        func visit(_ number: Int, _ path: UInt64) {
            switch nodes[number] {
            case .folder(let names):
                sum &+= Self.mix(path, 1)
                for (name, child) in names { visit(child, Self.mix(path, Self.hash(name))) }
            case .file(let file): sum &+= Self.mix(Self.mix(path, 2), Self.mix(file.history, UInt64(number)))
            case .symlink(let target): sum &+= Self.mix(Self.mix(path, 3), Self.hash(target))
            case nil: break
            }
        }
        visit(Self.root, 0x9E37_79B9_7F4A_7C15)
        return sum
    }

    static func hash(_ text: String) -> UInt64 {
        var value: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text.utf8 { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return value
    }

    /// SplitMix64's finaliser over both.
    static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        var z = a &* 0x9E37_79B9_7F4A_7C15 &+ b &+ 0x632B_E59B_D9B4_E019
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
