/// How people and manifests name a version: `name`, `name:42`, `name@production`, `name@production~1`,
/// `name@sha256:…`.
package struct ArtifactReference: Sendable, Hashable, CustomStringConvertible {
    /// Which version of the name is meant.
    package enum Selector: Sendable, Hashable {
        /// `production` if it exists, else `latest`.
        case preferred
        case version(Int)
        /// What the alias points at, or pointed at so many moves ago.
        case alias(String, back: Int)
        /// `sha256:` and 64 digits.
        case digest(String)
    }

    /// The alias that follows the newest version by itself.
    package static let latest = "latest"
    /// The alias a bare name means first.
    package static let production = "production"

    package var name: String
    package var selector: Selector

    package init(name: String, selector: Selector = .preferred) {
        self.name = name
        self.selector = selector
    }

    /// Reads a reference.
    ///
    /// - Throws: `invalidReference`, with what is expected where the text departs from it.
    package init(_ text: String) throws {
        func fail(_ reason: String) -> ArtifactError {
            ArtifactError(
                .invalidReference,
                "\"\(text)\" is no reference to an artifact: \(reason); write NAME, NAME:VERSION, "
                    + "NAME@ALIAS, NAME@ALIAS~1 or NAME@sha256:DIGEST")
        }
        let end = text.firstIndex { $0 == ":" || $0 == "@" } ?? text.endIndex
        let name = String(text[..<end])
        guard !name.isEmpty else { throw fail("it does not begin with a name") }
        guard ArtifactNaming.isArtifact(name) else { throw fail("\"\(name)\" cannot be a name in the store") }
        self.name = name
        guard end < text.endIndex else {
            self.selector = .preferred
            return
        }
        let rest = text[text.index(after: end)...]
        if text[end] == ":" {
            guard let number = ArtifactNaming.version(rest) else {
                throw fail("\"\(rest)\" is no version number, which are 1, 2, 3 and so on")
            }
            self.selector = .version(number)
        } else if rest.hasPrefix("sha256:") {
            guard Digest.isDigest(String(rest)) else {
                throw fail("a digest is sha256: and all of its 64 digits 0-9 a-f")
            }
            self.selector = .digest(String(rest))
        } else {
            let tilde = rest.firstIndex(of: "~") ?? rest.endIndex
            let alias = String(rest[..<tilde])
            guard ArtifactNaming.isAlias(alias) else { throw fail("\"\(alias)\" cannot be an alias") }
            var back = 0
            if tilde < rest.endIndex {
                let digits = rest[rest.index(after: tilde)...]
                guard digits == "0" || ArtifactNaming.version(digits) != nil, let number = Int(digits) else {
                    throw fail("after ~ stands how many moves ago, such as ~1")
                }
                back = number
            }
            self.selector = .alias(alias, back: back)
        }
    }

    /// Reads a manifest's `store:NAME…`; `nil` when the text does not begin with `store:`.
    package static func base(_ text: String) throws -> ArtifactReference? {
        guard text.hasPrefix("store:") else { return nil }
        return try ArtifactReference(String(text.dropFirst("store:".count)))
    }

    package var description: String {
        switch selector {
        case .preferred: name
        case .version(let number): "\(name):\(number)"
        case .alias(let alias, let back): back == 0 ? "\(name)@\(alias)" : "\(name)@\(alias)~\(back)"
        case .digest(let digest): "\(name)@\(digest)"
        }
    }
}
