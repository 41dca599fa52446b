import Foundation

/// The version's own files, for PEFT itself.
enum PEFTExport: ExportFormat {
    static let name = "peft"

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        try source.copyFiles(to: folder)
        return ["PeftModel.from_pretrained(base, \"\(source.place)\") loads the folder"]
    }
}

extension ExportSource {
    /// Copies the version's files as they are.
    func copyFiles(to target: URL) throws {
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil) {
            try FileManager.default.copyItem(at: file, to: target.appending(path: file.lastPathComponent))
        }
    }
}
