import Glibc

/// What tells the content of a file from another's without reading it.
struct FileIdentity: Equatable {
    let size: Int
    let links: UInt
    let isFolder: Bool
    private let device: UInt
    private let inode: UInt
    private let modified: [Int]
    private let changed: [Int]

    init(_ status: stat) {
        size = Int(status.st_size)
        links = UInt(status.st_nlink)
        isFolder = status.st_mode & S_IFMT == S_IFDIR
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
        changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
    }
}
