/// What somebody may be told of.
package enum NoticeEvent: String, Codable, Sendable, CaseIterable {
    /// A job has succeeded; also one that had nothing to do.
    case finished
    /// A job has failed for good.
    case failed
    /// A manifest was dropped, or its time had come, and it is no job.
    case rejected
    /// A gate has let a version not pass, or holds it until somebody approves.
    case gateFailed = "gate_failed"
    /// An alias points at another version now: by a gate, by hand, or back.
    case promoted

    /// Those that a job can speak of itself: who writes a manifest that cannot be read is not known by it.
    package static let ofJobs: [NoticeEvent] = [.finished, .failed, .gateFailed, .promoted]
}

/// Where notices go, as `notify:` of `lorajobs.yaml` defines it by name.
package struct NoticeTarget: Sendable, Equatable {
    /// Where a secret is kept; it is read anew for each request and never written anywhere.
    package enum Secret: Sendable, Equatable {
        /// The first line of a file, by its absolute path.
        case file(String)
        /// A variable of the daemon's environment.
        case variable(String)
    }

    package enum Place: Sendable, Equatable {
        /// A JSON document is posted to an address.
        case webhook(address: Address)
        /// A file for each notice appears in a folder, by its absolute path.
        case folder(String)
    }

    /// An address, or where one is kept that is a secret itself, as those of chat services are.
    package enum Address: Sendable, Equatable {
        case text(String)
        case secret(Secret)
    }

    package var place: Place
    /// What it is told of every job and file; manifests may ask for more about their own.
    package var events = NoticeEvent.allCases
    /// Sent as `Authorization: Bearer …`.
    package var token: Secret?
    /// The key of the signature in `X-Lorajobs-Signature-256`.
    package var signingKey: Secret?
    /// How long one request may take in all.
    package var timeoutSeconds = 10.0
    /// How often a delivery that failed is tried again.
    package var retries = 12

    package init(_ place: Place) { self.place = place }

    /// The target for people and logs: of an address only scheme and host, since the rest of it may be a secret.
    package var summary: String {
        switch place {
        case .folder(let path): path
        case .webhook(.secret): "webhook, its address is kept elsewhere"
        case .webhook(.text(let address)): Self.redacted(address)
        }
    }

    /// Scheme and host of an address.
    package static func redacted(_ address: String) -> String {
        guard let match = address.prefixMatch(of: /(https?:\/\/[^\/?#]*)(.*)/.ignoresCase()) else { return "webhook" }
        return match.2.isEmpty || match.2 == "/" ? String(match.1) : "\(match.1)/…"
    }

    /// What is wrong with an address; `nil` for a good one.
    package static func problem(withAddress address: String) -> String? {
        guard let match = address.prefixMatch(of: /https?:\/\/([^\/?#]*)/.ignoresCase()) else {
            return "an address begins with https:// or http://"
        }
        if match.1.isEmpty { return "the address names no host" }
        if match.1.contains("@") { return "no name and password in an address: token_file is for that" }
        let isPlain = address.unicodeScalars.allSatisfy { (0x21...0x7E).contains($0.value) }
        return isPlain ? nil : "an address is printable ASCII without spaces"
    }
}
