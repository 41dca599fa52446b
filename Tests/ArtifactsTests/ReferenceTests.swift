import Foundation
import TestSupport
import Testing

@testable import Artifacts

@Suite struct ReferenceTests {
    static let digest = "sha256:" + String(repeating: "0a", count: 32)

    @Test(arguments: [
        ("tone", ArtifactReference(name: "tone")),
        ("support-tone.v2_x", ArtifactReference(name: "support-tone.v2_x")),
        ("tone:42", ArtifactReference(name: "tone", selector: .version(42))),
        ("tone@production", ArtifactReference(name: "tone", selector: .alias("production", back: 0))),
        ("tone@production~1", ArtifactReference(name: "tone", selector: .alias("production", back: 1))),
        ("tone@latest~12", ArtifactReference(name: "tone", selector: .alias("latest", back: 12))),
        ("tone@\(digest)", ArtifactReference(name: "tone", selector: .digest(digest))),
        ("42:1", ArtifactReference(name: "42", selector: .version(1))),
    ])
    func parses(_ text: String, _ expected: ArtifactReference) throws {
        let reference = try ArtifactReference(text)
        #expect(reference == expected)
        #expect(reference.description == text)
        #expect(try ArtifactReference.base("store:" + text) == expected)
        #expect(try ArtifactReference.base("models/" + text) == nil)
    }

    @Test(arguments: [
        "", ":1", "@production", "tone:", "tone:0", "tone:01", "tone:-1", "tone:x", "tone@", "tone@1", "tone@a.b",
        "tone@production~", "tone@production~-1", "tone@production~01", "tone@production~x", "../tone", "a/b", ".tone",
        "tone@sha256:", "tone@sha256:0a0a", "tone@sha256:" + String(repeating: "0A", count: 32), "tone:1@production",
        "tone:99999999999999999999", "tö", "tone ", "-tone",
    ])
    func refuses(_ text: String) {
        let error = #expect(throws: ArtifactError.self) { try ArtifactReference(text) }
        #expect(error?.code == .invalidReference)
        #expect(error?.message.contains("\"\(text)\"") == true)
    }

    @Test func errorsSayWhatThereIs() throws {
        let fixture = try StoreFixture()
        func message(_ text: String) throws -> (ArtifactError.Code?, String) {
            let error = #expect(throws: ArtifactError.self) {
                try fixture.store.resolve(ArtifactReference(text))
            }
            return (error?.code, error?.message ?? "")
        }
        #expect(
            try message("tone") == (
                .noSuchArtifact, #"there is no adapter named "tone"; the store has no adapters yet"#
            ))
        for name in ["support-tone", "summaries"] {
            for weights in ["a", "b", "c", "d", "e"] { try fixture.publish(name, weights) }
        }
        try FileTree.remove(fixture.store.versionFolder(4, of: "summaries", in: .adapters))
        #expect(
            try message("suport-tnoe")
                == (.noSuchArtifact, #"there is no adapter named "suport-tnoe"; did you mean support-tone?"#))
        #expect(
            try message("poetry")
                == (.noSuchArtifact, #"there is no adapter named "poetry"; there are summaries, support-tone"#))
        #expect(
            try message("summaries:7")
                == (.noSuchVersion, "there is no summaries:7; summaries has versions 1 to 3, 5"))
        #expect(
            try message("summaries@production")
                == (.noSuchAlias, #"summaries has no alias "production"; it has latest"#))
        #expect(try message("summaries@" + Self.digest).0 == .noSuchVersion)
        #expect(throws: ArtifactError.self) { try fixture.store.versions(of: "poetry") }
        #expect(throws: ArtifactError.self) { try fixture.store.log(of: "poetry") }
    }
}
