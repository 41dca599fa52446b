import Foundation
import Glibc
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

/// Whose files are taken, and where the workspace may lie.
@Suite struct DropRightsTests {
    @Test func ownerGroupAndStickyBitDecide() {
        func admits(_ user: UInt32, mode: UInt32, members: Set<UInt32> = []) -> Bool {
            DropRights.Folder(owner: 1000, group: 50, mode: mode).admits(user) { user, group in
                group == 50 && members.contains(user)
            }
        }
        #expect(admits(1000, mode: 0o700))
        #expect(!admits(1001, mode: 0o755))
        #expect(admits(1001, mode: 0o775, members: [1001]))
        #expect(!admits(1001, mode: 0o755, members: [1001]), "the group may not write")
        #expect(!admits(1002, mode: 0o775, members: [1001]))
        #expect(!admits(1002, mode: 0o777), "anyone could take another's file away")
        #expect(admits(1002, mode: 0o1777))
    }

    @Test func groupsAreTheSystems() {
        #expect(UserDirectory.isMember(0, of: 0))
        #expect(!UserDirectory.isMember(0, of: 4_000_000_000))
        #expect(!UserDirectory.isMember(4_000_000_000, of: 0))
        #expect(UserDirectory.name(of: 0) == "root")
        #expect(UserDirectory.name(of: 4_000_000_000) == "user 4000000000")
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func aStrangersFileIsRefusedWithAReport() async throws {
        let test = try TestWorkspace()
        let queue = try test.queue()
        let stranger: uid_t = 54_321
        func drop(_ tenant: String, _ name: String) throws {
            let folder = test.workspace.inbox.appending(path: tenant)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            let url = folder.appending(path: name)
            try Data("name: \(tenant)\n".utf8).write(to: url)
            try #require(chown(url.path, stranger, stranger) == 0)
        }
        try drop("closed", "a.yaml")
        try drop("open", "b.yaml")
        try drop("named", "c.yaml")
        try drop("own", "d.yaml")
        chmod(test.workspace.inbox.appending(path: "open").path, 0o1777)
        chown(test.workspace.inbox.appending(path: "own").path, stranger, 0)
        var configuration = test.configuration()
        var named = WorkspaceSettings.Tenant()
        named.owners = ["54321"]
        configuration.tenants = ["named": named, "closed": WorkspaceSettings.Tenant()]
        var inbox = Inbox(configuration, queue)
        try await eventually("all are taken") {
            _ = try inbox.scan(movedIn: [])
            return try InboxEntry.list(test.workspace).isEmpty
        }
        #expect(try queue.list().map(\.tenant).sorted() == ["named", "open", "own"])
        let path = try #require(test.files(test.workspace.rejected, ending: "a.yaml.error.json").first)
        let url = test.workspace.rejected.appending(path: path)
        let finding = try #require(try ValidationReport(decoding: Data(contentsOf: url)).findings.first)
        #expect(finding.code == .ownerNotAllowed)
        #expect(finding.message == "user 54321 may not drop into Jobs/inbox/closed, which belongs to root")
        // The answer is the dropper's to read.
        var status = stat()
        #expect(lstat(url.path, &status) == 0 && status.st_uid == stranger)
        #expect(try queue.rejections().map(\.tenant) == ["closed"])
    }

    @Test func networksAreNoPlaceForTheQueue() throws {
        #expect(FileSystem(type: 0x6969) == .network("NFS"))
        #expect(FileSystem(type: Int(Int32(bitPattern: 0xFF53_4D42))) == .network("SMB"))
        #expect(FileSystem(type: 0xEF53) == .local)
        #expect(FileSystem(type: 0x6573_5546) == .unwatchable("FUSE"))
        let test = try TestWorkspace()
        var configuration = test.configuration()
        configuration.fileSystem = { _ in .local }
        try configuration.checkFileSystems()
        #expect(configuration.hasReliableEvents)
        configuration.fileSystem = { _ in .unwatchable("overlay") }
        try configuration.checkFileSystems()
        #expect(!configuration.hasReliableEvents)
        configuration.fileSystem = { _ in .network("NFS") }
        let error = #expect(throws: OrchestrationError.self) { try configuration.checkFileSystems() }
        #expect(error?.code == .badConfiguration)
        #expect(error?.description.contains("local disk") == true)
    }
}
