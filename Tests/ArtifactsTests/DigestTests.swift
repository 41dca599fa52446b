import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Artifacts

@Suite struct DigestTests {
    // FIPS 180-4's examples.
    static let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    static let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    static let millionA = "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

    @Test func knownVectors() throws {
        #expect(Digest.sha256(Data()) == Self.empty)
        #expect(Digest.sha256(Data("abc".utf8)) == Self.abc)
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "a")
        try Data(repeating: UInt8(ascii: "a"), count: 1_000_000).write(to: file)
        #expect(try Digest.sha256(of: file) == Self.millionA)
        #expect(try Digest.sha256(of: file, length: 1_000_000) == Self.millionA)
        #expect(try Digest.sha256(of: file, length: 0) == Self.empty)
        // More than one buffer, and a length that is no multiple of it.
        try Data(repeating: UInt8(ascii: "a"), count: 3_000_000).write(to: file)
        let part = Data(repeating: UInt8(ascii: "a"), count: 2_500_001)
        #expect(try Digest.sha256(of: file, length: 2_500_001) == Digest.sha256(part))
        #expect(code { _ = try Digest.sha256(of: folder.url.appending(path: "none")) } == .notFound)
    }

    @Test func aFolderIsDigestedAsCoreutilsWould() throws {
        let folder = try TemporaryFolder()
        for (path, text) in [("b", "abc"), ("a/z", ""), ("a.txt", "abc"), ("B", "x y")] {
            let url = folder.url.appending(path: path)
            try FileTree.makeFolder(url.deletingLastPathComponent())
            try Data(text.utf8).write(to: url)
        }
        // find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum
        #expect(
            try Digest.directoryDigest(folder.url)
                == "sha256:cbc0bff80297a0dad6e26e1a6a887f5625cfc087a74bf3eac2125b23c4617046")
        try FileManager.default.createSymbolicLink(
            atPath: folder.url.appending(path: "link").path, withDestinationPath: "b")
        #expect(code { _ = try Digest.directoryDigest(folder.url) } == .invalidFolder)
    }

    @Test(arguments: [
        "", "sha256:", "sha256:00", "md5:" + String(repeating: "0", count: 64),
        "sha256:" + String(repeating: "G", count: 64), "sha256:" + String(repeating: "A", count: 64),
    ])
    func notADigest(_ text: String) { #expect(!Digest.isDigest(text)) }

    @Test func whatIsAppendedAfterThePinDoesNotMatter() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "data.jsonl")
        try Data("abc".utf8).write(to: file)
        let link = folder.url.appending(path: "link")
        try FileManager.default.createSymbolicLink(atPath: link.path, withDestinationPath: "data.jsonl")
        let pins = try Digest.pin(paths: [link.path])
        let resolved = try #require(
            realpath(file.path, nil).map { pointer in
                defer { free(pointer) }
                return String(cString: pointer)
            })
        #expect(pins == [PinnedFile(path: resolved, length: 3, digest: Self.abc)])

        try Data("abcdef".utf8).write(to: file)
        try Digest.check(pins)
        #expect(try Digest.sha256(of: file, length: 3) == Self.abc)
    }

    @Test(arguments: ["ab", "", "abX", "Xbcdef"])
    func whatIsChangedWithinThePinIsFound(_ text: String) throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "data.jsonl")
        try Data("abc".utf8).write(to: file)
        let pins = try Digest.pin(paths: [file.path])
        try Data(text.utf8).write(to: file)
        let error = #expect(throws: ArtifactError.self) { try Digest.check(pins) }
        #expect(error?.code == .inputsChanged)
        #expect(error?.message.contains(pins[0].path) == true)
    }

    @Test func whatIsGoneOrNoFileIsNotPinned() throws {
        let folder = try TemporaryFolder()
        let file = folder.url.appending(path: "data.jsonl")
        #expect(code { _ = try Digest.pin(paths: [file.path]) } == .notFound)
        #expect(code { _ = try Digest.pin(paths: [folder.url.path]) } == .invalidFolder)
        #expect(mkfifo(file.path, 0o600) == 0)
        #expect(code { _ = try Digest.pin(paths: [file.path]) } == .invalidFolder)
        try FileTree.remove(file)
        try Data("abc".utf8).write(to: file)
        let pins = try Digest.pin(paths: [file.path])
        try FileTree.remove(file)
        #expect(code { try Digest.check(pins) } == .inputsChanged)
    }
}
