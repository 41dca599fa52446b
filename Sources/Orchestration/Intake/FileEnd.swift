import Foundation
import PipelineSpec

/// Whether the end of a file that was copied looks like an end.
enum FileEnd: Sendable {
    case whole
    /// In the middle of a value, by the rules of YAML.
    case cutOff
    /// Not with the line `...` that the workspace asks for.
    case unmarked

    /// A file that is cut off gets at least so many times the settling time.
    static let patience = 5.0

    /// Looks at a file; one that cannot be read is whole, and what is wrong with it is said when it is taken.
    init(of path: String, maximumBytes: Int, requiresMarker: Bool) {
        self = .whole
        guard let read = try? ManifestFile.read(path, limit: maximumBytes), case .bytes(let bytes) = read.content else {
            return
        }
        if requiresMarker, !path.hasSuffix(".json"), !Self.hasMarker(bytes) {
            self = .unmarked
            return
        }
        do {
            _ = try DocumentReader().read(bytes)
        } catch let invalid as InvalidFile {
            if invalid.findings.contains(where: { $0.code == .truncated }) { self = .cutOff }
        } catch {
            return
        }
    }

    init(of path: String, _ configuration: OrchestrationConfiguration) {
        self.init(
            of: path, maximumBytes: configuration.maximumManifestBytes, requiresMarker: configuration.requiresEndMarker)
    }

    /// Whether the last line that is not blank is `...`; JSON ends where its braces do.
    private static func hasMarker(_ bytes: Data) -> Bool {
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        let last = lines.last { $0.contains { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\r") } }
        return last.map { String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespaces) == "..." } ?? false
    }
}
