import Foundation

/// What the name of a file in the inbox says about it.
package enum InboxName: Sendable, Equatable {
    /// A manifest: taken as soon as it is complete.
    case manifest
    /// An editor's or a copying program's own file: passed over in silence.
    case ignored
    /// Neither; listed with the reason, never taken and never deleted.
    case refused(reason: String)

    /// Judges a file name, without any folder.
    package init(_ name: String) {
        if Self.isTemporary(name) {
            self = .ignored
        } else if name.wholeMatch(of: #/[A-Za-z0-9][A-Za-z0-9._ -]{0,199}\.(ya?ml|json)/#) != nil {
            self = .manifest
        } else if !name.hasSuffix(".yaml") && !name.hasSuffix(".yml") && !name.hasSuffix(".json") {
            self = .refused(reason: "the name does not end in .yaml, .yml or .json")
        } else if name.count > 206 {
            self = .refused(reason: "the name is longer than 200 characters")
        } else {
            self = .refused(reason: "the name holds characters other than A-Z a-z 0-9 . _ - and space")
        }
    }

    /// A name that a submitted file keeps behind its ULID: what is not accepted becomes `_`.
    package static func accepted(from name: String) -> String {
        let stem = name.replacing(#/\.(ya?ml|json)$/#, with: "")
        var safe = String(stem.map { $0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0)) ? $0 : "_" })
        while let first = safe.first, !first.isLetter, !first.isNumber { safe.removeFirst() }
        safe = String(safe.prefix(150))
        let ending = name.hasSuffix(".json") ? ".json" : ".yaml"
        return (safe.isEmpty ? "manifest" : safe) + ending
    }

    /// The id and the name of a file that carries its ULID in front, as `submit` and the daemon name them:
    /// `<ULID>__name.yaml`.
    package static func claim(in name: String) -> (id: ULID, name: String)? {
        guard let separator = name.range(of: "__"), let id = ULID(name[..<separator.lowerBound]) else { return nil }
        return (id, String(name[separator.upperBound...]))
    }

    private static func isTemporary(_ name: String) -> Bool {
        let endings = [
            "~", ".swp", ".swx", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".bak",
        ]
        // sed -i writes sedXXXXXX beside the file; vim tries whether it may write with a file named 4913.
        return name.isEmpty || name.hasPrefix(".") || name.hasPrefix("#") || name == "4913"
            || endings.contains { name.hasSuffix($0) } || name.wholeMatch(of: #/sed[A-Za-z0-9]{6}/#) != nil
    }
}
