import Foundation

/// A disk while a recording is replayed on it: what is on it for certain, and what may be lost when power fails.
///
/// The model promises no more than POSIX does, which is less than any journaling file system keeps; Pillai et al., "All
/// File Systems Are Not Created Equal" (OSDI 2014, the tool ALICE), measured how far real ones go in between:
///
/// - Written bytes and lengths of a file are certain after fsync or fdatasync of that file, whatever else was synced.
///   Until then each write may be missing, whole, or torn at a sector; a later one may be there without an earlier one.
/// - A name in a folder (made, linked, removed) is certain after fsync of that folder. Syncing the file does not do it,
///   nor does syncing the folder's parent. A new folder that lost its name loses all that is in it.
/// - A rename is atomic: the old names or the new ones, never both and never neither. It is certain after fsync of both
///   folders. It may be there without the bytes of the renamed file: the zero-length file of ext4's delayed allocation.
/// - What is not there cannot be renamed: where the making of a name is lost, so is a rename of it.
/// - syncfs and sync make everything certain.
///
/// ``Ordering/journaled`` is the stronger promise of ext4 with `data=ordered`, XFS and btrfs: names are lost only from
/// the newest back, and every fsync makes all earlier ones certain. Bytes are lost as before.
///
/// The method, losing any part of what was not synced and opening the result, is that of SQLite's own crash tests.
struct Disk {
    enum Ordering: Sendable { case arbitrary, journaled }

    /// A change that is not certain, or cannot be told apart from ones that are not.
    struct Pending: Sendable {
        /// The operation it came from.
        let id: Int
        var change: DiskImage.Change
        /// What has to be synced until it is certain: folders, or the file.
        var owes: Set<Int>
        let description: String
        /// Whether nobody reads it after a crash, so that it need not be lost alone, only with others.
        let isIncidental: Bool
        var isCertain: Bool { owes.isEmpty }
        var isName: Bool { change.file == nil }
    }

    struct Contradiction: Error, CustomStringConvertible {
        let description: String
    }

    /// Locks, whose content means something only while they are held, and what is written for people to watch.
    private static let incidental = [
        "/.daemon.lock", "/worker.lock", "/.poke", "/log.txt", "/progress.jsonl", "/.lock",
    ]

    private let path: String
    private let ordering: Ordering
    private let ignores: (Operation) -> Bool
    /// What survives in any case.
    private(set) var certain: DiskImage
    private(set) var pending: [Pending] = []
    /// What programs see.
    private(set) var seen: DiskImage
    private var inodes: [UInt64: Int]
    private var nextNode: Int
    private var lastWritten: Int?
    /// Syncs that found nothing to make certain.
    private(set) var idleSyncs: [Int] = []

    /// - Parameters:
    ///   - root: The recorded folder as it was before the recording, all of it certain.
    ///   - ignores: Syncs that are taken to do nothing, as if the program did not call them.
    init(
        _ image: DiskImage, inodes: [UInt64: Int], at root: URL, ordering: Ordering = .arbitrary,
        ignoring ignores: @escaping (Operation) -> Bool = { _ in false }
    ) {
        path = root.path
        self.ordering = ordering
        self.ignores = ignores
        certain = image
        seen = image
        self.inodes = inodes
        nextNode = (image.nodes.keys.max() ?? 0) + 1
    }

    /// The path below the root.
    private func relative(_ text: String) throws -> Substring {
        guard text == path || text.hasPrefix(path + "/") else {
            throw Contradiction(description: "\(text) is not below \(path)")
        }
        return text.dropFirst(path.count)
    }

    private func place(_ text: String) throws -> (folder: Int, name: String) {
        guard let place = seen.place(try relative(text)) else {
            throw Contradiction(description: "nothing is known of the folder of \(text)")
        }
        return place
    }

    /// Replays one operation; `id` is its place in the recording.
    ///
    /// - Throws: ``Contradiction`` when the recording cannot have happened: then the recorder missed something.
    mutating func replay(_ operation: Operation, id: Int) throws {
        let isContinued = operation.kind == .write ? lastWritten : nil
        lastWritten = nil
        // A deleted file keeps its bytes for those who have it open, and nobody finds them after a crash.
        if DiskImage.isIgnored(operation.text) || operation.text.hasSuffix(" (deleted)") { return }
        switch operation.kind {
        case .open:
            let (folder, name) = try place(operation.text)
            if let node = seen.entry(folder, name), operation.b == 0 {
                inodes[operation.inode] = node
                if operation.a == 1 { change(id, .truncate(node: node, length: 0), owes: [node], "empty", operation) }
            } else {
                guard seen.entry(folder, name) == nil else {
                    throw Contradiction(description: "\(operation.text) was made twice")
                }
                let node = make(.file(DiskImage.File()))
                inodes[operation.inode] = node
                change(id, .name(folder: folder, name, node: node), owes: [folder], "make", operation)
            }
        case .write:
            let node = try file(operation)
            if isContinued == node, let last = pending.last, case .write(node, let offset, var bytes) = last.change,
                offset + bytes.count == Int(operation.a)
            {
                // One run of bytes, however many calls it took: SQLite writes each frame in two.
                let addition = DiskImage.Change.write(node: node, offset: Int(operation.a), bytes: operation.data)
                seen.apply(addition, id: id)
                bytes += operation.data
                pending[pending.count - 1].change = .write(node: node, offset: offset, bytes: bytes)
            } else {
                let write = DiskImage.Change.write(node: node, offset: Int(operation.a), bytes: operation.data)
                change(id, write, owes: [node], "write", operation)
            }
            lastWritten = node
        case .truncate:
            let node = try file(operation)
            change(id, .truncate(node: node, length: Int(operation.a)), owes: [node], "truncate", operation)
        case .rename:
            let (from, old) = try place(operation.text)
            let target = String(decoding: operation.data, as: UTF8.self)
            let (to, new) = try place(target)
            guard let node = seen.entry(from, old) else {
                throw Contradiction(description: "\(operation.text) was renamed, and is not known")
            }
            change(id, .move(folder: from, old, toFolder: to, new, node: node), owes: [from, to], "rename", operation)
        case .link:
            let target = String(decoding: operation.data, as: UTF8.self)
            let (folder, name) = try place(target)
            guard let node = seen.node(at: try relative(operation.text)) else {
                throw Contradiction(description: "\(operation.text) was linked, and is not known")
            }
            change(id, .name(folder: folder, name, node: node), owes: [folder], "link", operation)
        case .symlink:
            let (folder, name) = try place(operation.text)
            let node = make(.symlink(String(decoding: operation.data, as: UTF8.self)))
            change(id, .name(folder: folder, name, node: node), owes: [folder], "symlink", operation)
        case .makeFolder:
            let (folder, name) = try place(operation.text)
            let node = make(.folder([:]))
            change(id, .name(folder: folder, name, node: node), owes: [folder], "make folder", operation)
        case .unlink:
            let (folder, name) = try place(operation.text)
            change(id, .name(folder: folder, name, node: nil), owes: [folder], "remove", operation)
        case .sync:
            if ignores(operation) { return }
            let isFolder = operation.b == 1
            let node = isFolder ? seen.node(at: try relative(operation.text)) : inodes[operation.inode]
            guard let node else { throw Contradiction(description: "\(operation.text) was synced, and is not known") }
            if !pending.contains(where: { $0.isName == isFolder && $0.owes.contains(node) }) { idleSyncs.append(id) }
            for index in pending.indices where pending[index].isName == isFolder || ordering == .journaled {
                if pending[index].isName && ordering == .journaled {
                    pending[index].owes = []
                } else {
                    pending[index].owes.remove(node)
                }
            }
            settle()
        case .syncAll:
            if ignores(operation) { return }
            for index in pending.indices { pending[index].owes = [] }
            settle()
        case .start, .exit, .mark, .unknown: break
        }
    }

    private func file(_ operation: Operation) throws -> Int {
        guard let node = inodes[operation.inode] else {
            throw Contradiction(description: "\(operation.text) was written to, and its making was not recorded")
        }
        return node
    }

    private mutating func make(_ node: DiskImage.Node) -> Int {
        let number = nextNode
        nextNode += 1
        // Out of reach without its name, so nothing is given away.
        certain.apply(.make(node: number, node), id: 0)
        seen.apply(.make(node: number, node), id: 0)
        return number
    }

    private mutating func change(
        _ id: Int, _ change: DiskImage.Change, owes: Set<Int>, _ word: String, _ operation: Operation
    ) {
        seen.apply(change, id: id)
        var text = "\(word) \(operation.text.dropFirst(path.count + 1))"
        if [.rename, .link].contains(operation.kind) {
            text += " to \(String(decoding: operation.data, as: UTF8.self).dropFirst(path.count + 1))"
        }
        let isIncidental = Self.incidental.contains { operation.text.hasSuffix($0) }
        pending.append(
            Pending(id: id, change: change, owes: owes, description: text, isIncidental: isIncidental))
    }

    /// The folder or file that a sync makes certain.
    func synced(by operation: Operation) -> Int? {
        guard operation.kind == .sync else { return nil }
        guard operation.b == 1 else { return inodes[operation.inode] }
        return (try? relative(operation.text)).flatMap { seen.node(at: $0) }
    }

    /// Moves what is certain out of the list, unless something uncertain before it touches the same thing.
    private mutating func settle() {
        var names: Set<String> = [], files: Set<Int> = []
        var rest: [Pending] = []
        for item in pending {
            let touched: [String] =
                switch item.change {
                case .name(let folder, let name, _): ["\(folder)/\(name)"]
                case .move(let from, let old, let to, let new, _): ["\(from)/\(old)", "\(to)/\(new)"]
                case .write, .truncate, .make: []
                }
            let isBlocked = touched.contains(where: names.contains) || item.change.file.map(files.contains) ?? false
            if item.isCertain && !isBlocked {
                certain.apply(item.change, id: item.id)
            } else {
                names.formUnion(touched)
                if let file = item.change.file { files.insert(file) }
                rest.append(item)
            }
        }
        pending = rest
    }
}
