package import Foundation
package import Layers
import TensorCore

/// Looks through an adapter folder that another program wrote, and says everything that is wrong with it.
///
/// PEFT loads a folder with a wrong prefix or with missing layers, warns, and computes with zeros; and some readers pass
/// over rank-stabilised scales and patterns. ``PEFTFolder/read(_:attachingTo:)`` refuses at the first such fault; this
/// finds all of them, and also what is only doubtful.
package struct AdapterLint {
    /// What was found: faults of files first, then of the configuration, then of tensors, then of the fit to the base.
    package private(set) var remarks: [AdapterRemark] = []
    /// The release of transformers whose names of modules the tensors have, where the names tell.
    package private(set) var dialect: NameDialect?

    /// Whether the adapter can be used.
    package var isSound: Bool { !remarks.contains(where: \.isError) }

    static let weightsName = "adapter_model.safetensors"
    let folder: URL

    /// Reads a folder; nothing in it is changed.
    ///
    /// - Parameter model: what the adapter is for, which may be an outline; without it, fewer faults can be found.
    package init(of folder: URL, on model: (any AdaptableModel)? = nil) {
        self.folder = folder
        let configuration = lintConfiguration()
        guard let weights = openWeights() else { return }
        lintTensors(weights, configuration, guessesLayers: model == nil)
        if let model { lintFit(to: model) }
    }

    // MARK: Files

    /// The weights, when they are there in the form they should have.
    private mutating func openWeights() -> SafetensorsFile? {
        if exists(Self.weightsName) {
            if exists("adapter_model.bin") {
                warn(
                    .pickle, in: "adapter_model.bin",
                    "a pickle lies beside the weights; it is not read and not taken over")
            }
            do {
                return try SafetensorsFile(folder.appending(path: Self.weightsName))
            } catch {
                fail(.syntax, in: Self.weightsName, "the weights cannot be read: \(error)")
                return nil
            }
        }
        if exists("adapter_model.safetensors.index.json") {
            fail(
                .sharded, in: "adapter_model.safetensors.index.json", "the weights are in several files",
                "load the adapter in PEFT and save it again: save_pretrained writes one file")
        } else if exists("adapter_model.bin") {
            fail(
                .pickle, in: "adapter_model.bin",
                "the weights are a Python pickle: reading it would run the program in it, so it is not read",
                "if you trust it, load the adapter in PEFT and save it again with save_pretrained")
        } else if let other = Self.otherFormats.first(where: { exists($0.file) }) {
            fail(.otherFormat, in: other.file, "this is an adapter of \(other.program), not of PEFT", other.hint)
        } else {
            fail(.missingFile, in: Self.weightsName, "the weights are missing", "name the folder that holds them")
        }
        return nil
    }

    /// Files by which adapters of other programs are known.
    private static let otherFormats: [(file: String, program: String, hint: String)] = [
        (
            "adapters.safetensors", "mlx-lm",
            "transpose lora_a and lora_b, name them as PEFT does, and set lora_alpha to scale · r"
        ),
        ("pytorch_lora_weights.safetensors", "diffusers", "adapters of diffusion models are not supported"),
        ("adapters.npz", "mlx-lm", "load it in mlx-lm and save it as safetensors first"),
    ]

    func exists(_ name: String) -> Bool {
        FileManager.default.fileExists(atPath: folder.appending(path: name).path(percentEncoded: false))
    }

    // MARK: The base

    /// Attaches the adapter as a job would; what fails there and was not found before is a fault of the fit.
    private mutating func lintFit(to model: any AdaptableModel) {
        guard isSound else { return }
        do {
            let adapter = try PEFTFolder.read(folder, attachingTo: model)
            dialect = adapter.dialect
            for name in adapter.match.unusedNames {
                warn(
                    .unusedPattern, in: PEFTFolder.configurationName, at: "target_modules",
                    "target_modules names \(name), which no module of the base has")
            }
            let transposed = adapter.modules.map { $0.projection.layout == .inputByOutput }
            if fansInAndOut == true, !transposed.contains(true) {
                warn(
                    .invalidValue, in: PEFTFolder.configurationName, at: "fan_in_fan_out",
                    "fan_in_fan_out is true, but the base's weights lie [out, in]; it changes nothing here")
            }
            adapter.detach()
        } catch let error as AdapterError {
            let codes: [AdapterError.Code: AdapterRemark.Code] = [
                .missingTensor: .missingTensor, .unexpectedTensor: .unexpectedTensor, .shape: .shape,
                .unsupported: .unsupported,
            ]
            fail(codes[error.code] ?? .base, "it does not fit the base: \(short(error.description))")
        } catch {
            fail(.base, "it does not fit the base: \(short("\(error)"))")
        }
    }

    /// `fan_in_fan_out` of the configuration.
    var fansInAndOut: Bool?

    /// An error's words without the folder's path, which the person knows.
    private func short(_ text: String) -> String {
        let path = folder.path(percentEncoded: false)
        return text.replacing(path.hasSuffix("/") ? path : path + "/", with: "").replacing("\(path): ", with: "")
    }

    // MARK: Remarks

    mutating func fail(
        _ code: AdapterRemark.Code, in file: String? = nil, at member: String? = nil, _ message: String,
        _ hint: String? = nil
    ) {
        remarks.append(
            AdapterRemark(isError: true, code: code, file: file, member: member, message: message, hint: hint))
    }

    mutating func warn(
        _ code: AdapterRemark.Code, in file: String? = nil, at member: String? = nil, _ message: String,
        _ hint: String? = nil
    ) {
        remarks.append(
            AdapterRemark(isError: false, code: code, file: file, member: member, message: message, hint: hint))
    }

    mutating func set(_ dialect: NameDialect) { self.dialect = dialect }
}
