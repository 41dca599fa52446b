import Foundation
import Testing

/// The model of a disk keeps its own rules: without that, it would prove nothing.
@Suite struct DiskTests {
    private let root = URL(filePath: "/disk")

    private func disk(_ operations: [Operation], _ ordering: Disk.Ordering = .arbitrary) throws -> Disk {
        var disk = Disk(DiskImage(), inodes: [:], at: root, ordering: ordering)
        for (id, operation) in operations.enumerated() { try disk.replay(operation, id: id) }
        return disk
    }

    private func make(_ path: String, _ inode: UInt64) -> Operation {
        Operation(kind: .open, inode: inode, b: 1, text: "/disk/\(path)")
    }

    private func write(_ path: String, _ inode: UInt64, at offset: Int64 = 0, _ text: String) -> Operation {
        Operation(kind: .write, inode: inode, a: offset, text: "/disk/\(path)", data: Array(text.utf8))
    }

    private func sync(_ path: String, _ inode: UInt64) -> Operation {
        Operation(kind: .sync, inode: inode, text: "/disk/\(path)")
    }

    private func syncFolder(_ path: String = "") -> Operation {
        Operation(kind: .sync, b: 1, text: path.isEmpty ? "/disk" : "/disk/\(path)")
    }

    private func rename(_ from: String, _ to: String) -> Operation {
        Operation(kind: .rename, text: "/disk/\(from)", data: Array("/disk/\(to)".utf8))
    }

    /// Every listing a crash may leave.
    private func outcomes(_ disk: Disk) -> Set<[String]> {
        let free = disk.pending.indices.filter { !disk.pending[$0].isCertain }
        var found: Set<[String]> = []
        for mask in 0..<(1 << free.count) {
            let lost = Set(free.enumerated().filter { mask >> $0.offset & 1 == 1 }.map(\.element))
            let listing = CrashState(lost: lost).image(of: disk).listing
            found.insert(listing.map { "\($0)=\($1.map { String(decoding: $0, as: UTF8.self) } ?? "folder")" }.sorted())
        }
        return found
    }

    @Test func aFileNeedsItsBytesAndItsName() throws {
        let made = [make("a", 1), write("a", 1, "text")]
        #expect(try outcomes(disk(made)) == [[], ["/a="], ["/a=text"]])
        #expect(try outcomes(disk(made + [sync("a", 1)])) == [[], ["/a=text"]])
        #expect(try outcomes(disk(made + [syncFolder()])) == [["/a="], ["/a=text"]])
        #expect(try outcomes(disk(made + [sync("a", 1), syncFolder()])) == [["/a=text"]])
        #expect(try outcomes(disk(made + [Operation(kind: .syncAll, text: "/disk")])) == [["/a=text"]])
    }

    @Test func aLaterWriteMayBeThereWithoutAnEarlier() throws {
        let made = [
            make("a", 1), syncFolder(), write("a", 1, "one"), make("b", 2), write("a", 1, at: 3, "two"),
        ]
        let found = try outcomes(disk(made))
        #expect(found.contains(["/a=\0\0\0two"]))
        // Writes with nothing between them are one, which may be torn.
        let run = try disk([make("a", 1), write("a", 1, "one"), write("a", 1, at: 3, "two")])
        #expect(run.pending.count == 2)
        #expect(CrashState(lost: [], torn: (1, 2)).image(of: run).listing["/a"] == Array("on".utf8))
    }

    @Test func aRenameIsWholeAndNeedsBothFolders() throws {
        let before = [
            Operation(kind: .makeFolder, text: "/disk/x"), Operation(kind: .makeFolder, text: "/disk/y"), syncFolder(),
            make("x/a", 1), write("x/a", 1, "text"), sync("x/a", 1), syncFolder("x"), rename("x/a", "y/a"),
        ]
        let old = ["/x/a=text", "/x=folder", "/y=folder"], new = ["/x=folder", "/y/a=text", "/y=folder"]
        #expect(try outcomes(disk(before)) == [old, new])
        #expect(try outcomes(disk(before + [syncFolder("y")])) == [old, new])
        #expect(try outcomes(disk(before + [syncFolder("x"), syncFolder("y")])) == [new])
    }

    @Test func whatIsNotThereCannotBeRenamed() throws {
        let before = [
            Operation(kind: .makeFolder, text: "/disk/x"), Operation(kind: .makeFolder, text: "/disk/y"), syncFolder(),
            make("x/t", 1), write("x/t", 1, "text"), sync("x/t", 1), syncFolder("x"), rename("x/t", "x/a"),
            rename("x/a", "y/a"),
        ]
        let outcomes = try outcomes(disk(before))
        #expect(
            outcomes == [
                ["/x/a=text", "/x=folder", "/y=folder"], ["/x/t=text", "/x=folder", "/y=folder"],
                ["/x=folder", "/y/a=text", "/y=folder"],
            ])
    }

    @Test func aReplacedFileIsTheOldOrTheNew() throws {
        let before = [
            make("a", 1), write("a", 1, "old"), sync("a", 1), syncFolder(), make("t", 2), write("t", 2, "new"),
        ]
        // Without the sync it may be empty: the file of no length that careless programs leave.
        #expect(try outcomes(disk(before + [rename("t", "a"), syncFolder()])) == [["/a="], ["/a=new"]])
        #expect(try outcomes(disk(before + [sync("t", 2), rename("t", "a"), syncFolder()])) == [["/a=new"]])
        #expect(
            try outcomes(disk(before + [sync("t", 2), syncFolder(), rename("t", "a")])) == [
                ["/a=old", "/t=new"], ["/a=new"],
            ])
    }

    @Test func aLostFolderTakesItsContentAlong() throws {
        let made = [
            Operation(kind: .makeFolder, text: "/disk/x"), make("x/a", 1), write("x/a", 1, "text"), sync("x/a", 1),
            syncFolder("x"),
        ]
        #expect(try outcomes(disk(made)) == [[], ["/x/a=text", "/x=folder"]])
    }

    @Test func aJournalKeepsTheOrderOfNames() throws {
        let made = [make("a", 1), make("b", 2), make("c", 3)]
        let states = CrashState.interesting(try disk(made, .journaled), ordering: .journaled, alone: { _ in true })
        let found = try Set(states.map { try $0.image(of: disk(made, .journaled)).listing.keys.sorted() })
        #expect(found == [[], ["/a"], ["/a", "/b"], ["/a", "/b", "/c"]])
        // Any sync makes the names before it certain.
        #expect(try outcomes(disk(made + [sync("c", 3)], .journaled)) == [["/a=", "/b=", "/c="]])
    }

    @Test func whatWasNotRecordedIsNoticed() throws {
        #expect(throws: Disk.Contradiction.self) { try disk([write("a", 1, "text")]) }
        #expect(throws: Disk.Contradiction.self) { try disk([rename("a", "b")]) }
        #expect(throws: Disk.Contradiction.self) { try disk([make("a", 1), make("a", 2)]) }
    }
}
