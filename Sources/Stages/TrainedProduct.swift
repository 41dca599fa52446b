import Foundation
import PipelineSpec

/// What a train stage left behind.
enum TrainedProduct {
    /// A PEFT folder.
    case adapter(URL)
    /// A Hugging Face checkpoint folder.
    case checkpoint(URL)

    static let adapterFolder = "adapter"
    static let checkpointFolder = "model"

    /// Looks into the output of a train stage.
    init(_ output: URL) throws {
        let adapter = output.appending(path: Self.adapterFolder, directoryHint: .isDirectory)
        let checkpoint = output.appending(path: Self.checkpointFolder, directoryHint: .isDirectory)
        if FileManager.default.fileExists(atPath: adapter.path) {
            self = .adapter(adapter)
        } else if FileManager.default.fileExists(atPath: checkpoint.path) {
            self = .checkpoint(checkpoint)
        } else {
            throw StageError("damaged_input", "\(output.path) holds neither an adapter nor a model; run train again")
        }
    }
}
