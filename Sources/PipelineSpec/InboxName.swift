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
            return
        }
        // By bytes: a folder may hold many thousand names, and all of them are judged again and again.
        guard let ending = Self.endings.first(where: { name.hasSuffix($0) }) else {
            self = .refused(reason: "the name does not end in .yaml, .yml or .json")
            return
        }
        let stem = name.utf8.dropLast(ending.utf8.count)
        if stem.count > Self.longestStem {
            self = .refused(reason: "the name is longer than \(Self.longestStem) characters")
        } else if let first = stem.first, Self.isLetterOrDigit(first), stem.allSatisfy(Self.isAllowed) {
            self = .manifest
        } else if stem.allSatisfy(Self.isAllowed) {
            self = .refused(reason: "the name does not begin with a letter or a digit")
        } else {
            self = .refused(reason: "the name holds characters other than A-Z a-z 0-9 . _ - and space")
        }
    }

    private static let endings = [".yaml", ".yml", ".json"]
    private static let longestStem = 200

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: " ")
            || byte == UInt8(ascii: "-")
    }

    /// Whether a folder of this name in the inbox is a tenant's: up to 64 letters, digits, `_` and `-`, a letter or
    /// digit first.
    package static func isTenant(_ name: String) -> Bool {
        guard let first = name.utf8.first, isLetterOrDigit(first), name.utf8.count <= 64 else { return false }
        return name.utf8.allSatisfy { $0 != UInt8(ascii: ".") && $0 != UInt8(ascii: " ") && isAllowed($0) }
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
        let letters = 26
        let bytes = name.utf8
        guard bytes.count > letters + 2, bytes.dropFirst(letters).prefix(2).elementsEqual("__".utf8),
            let id = ULID(String(decoding: bytes.prefix(letters), as: UTF8.self))
        else { return nil }
        return (id, String(decoding: bytes.dropFirst(letters + 2), as: UTF8.self))
    }

    private static let temporaryEndings = [
        "~", ".swp", ".swx", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".bak",
    ]

    private static func isTemporary(_ name: String) -> Bool {
        // sed -i writes sedXXXXXX beside the file; vim tries whether it may write with a file named 4913.
        name.isEmpty || name.hasPrefix(".") || name.hasPrefix("#") || name == "4913"
            || temporaryEndings.contains { name.hasSuffix($0) }
            || name.utf8.count == 9 && name.hasPrefix("sed") && name.utf8.allSatisfy(isLetterOrDigit)
    }
}
