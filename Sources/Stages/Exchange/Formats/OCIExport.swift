import Artifacts
import Foundation
import PipelineSpec

/// An OCI image layout in a tar archive, which registries and their clients take.
///
/// The manifest is that of ModelPack (`application/vnd.cncf.model.manifest.v1+json`), one plain layer a file with its path in an
/// annotation. ModelPack has no word for an adapter, so annotations of our own say that it is one, and of what. The same
/// version gives the same bytes, and so the same digest.
enum OCIExport: ExportFormat {
    static let name = "oci"

    private static let manifestType = "application/vnd.oci.image.manifest.v1+json"
    private static let artifactType = "application/vnd.cncf.model.manifest.v1+json"
    private static let configurationType = "application/vnd.cncf.model.config.v1+json"

    static func write(_ source: ExportSource, to folder: URL) throws -> [String] {
        typealias JSON = PipelineSpec.JSONValue
        func text(_ value: JSON) -> Data { value.data() }
        var blobs: [String: (file: URL?, data: Data, size: Int)] = [:]
        var layers: [JSON] = []
        var digests: [JSON] = []
        let names = try FileManager.default.contentsOfDirectory(atPath: source.folder.path).sorted {
            $0.utf8.lexicographicallyPrecedes($1.utf8)
        }
        for name in names {
            let file = source.folder.appending(path: name)
            let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
            let size = (attributes[.size] as? NSNumber)?.intValue ?? 0
            let digest = try Digest.sha256(of: file)
            blobs[digest] = (file, Data(), size)
            digests.append(.string(digest))
            layers.append(
                .object([
                    "mediaType": .string(mediaType(of: name)), "digest": .string(digest), "size": .integer(size),
                    "annotations": .object([
                        "org.cncf.model.filepath": .string(name), "org.opencontainers.image.title": .string(name),
                    ]),
                ]))
        }
        let configuration = text(
            .object([
                "descriptor": .object([
                    "name": .string(source.name), "version": .string("\(source.version)"),
                    "title": .string("\(source.name), a LoRA adapter"),
                ]),
                "config": .object(["format": .string("safetensors"), "precision": .string("fp32")]),
                "modelfs": .object(["type": .string("layers"), "diffIds": .array(digests)]),
            ]))
        var annotations: [String: JSON] = [
            "org.opencontainers.image.title": .string(source.name),
            "org.opencontainers.image.version": .string("\(source.version)"),
            "lorajobs.adapter.digest": .string(source.digest), "lorajobs.adapter.kind": .string("peft"),
        ]
        if let base = source.baseName { annotations["lorajobs.adapter.base"] = .string(base) }
        let manifest = text(
            .object([
                "schemaVersion": 2, "mediaType": .string(manifestType), "artifactType": .string(artifactType),
                "config": descriptor(configurationType, configuration, &blobs), "layers": .array(layers),
                "annotations": .object(annotations),
            ]))
        guard case .object(var entry) = descriptor(manifestType, manifest, &blobs) else { return [] }
        entry["artifactType"] = .string(artifactType)
        entry["annotations"] = .object([
            "org.opencontainers.image.ref.name": .string("\(source.version)")
        ])
        let index = text(
            .object([
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": .array([.object(entry)]),
            ]))

        let file = "\(source.title).oci.tar"
        let archive = try TarFile(folder.appending(path: file))
        try archive.addFolder("blobs")
        try archive.addFolder("blobs/sha256")
        for (digest, blob) in blobs.sorted(by: { $0.key < $1.key }) {
            let name = "blobs/sha256/\(digest.dropFirst("sha256:".count))"
            if let file = blob.file {
                try archive.add(name, contentsOf: file, size: blob.size)
            } else {
                try archive.add(name, blob.data)
            }
        }
        try archive.add("index.json", index)
        try archive.add("oci-layout", text(.object(["imageLayoutVersion": "1.0.0"])))
        try archive.finish()
        return [
            "oras cp --from-oci-layout \(source.place)/\(file):\(source.version) REGISTRY/\(source.name):\(source.version), or "
                + "skopeo copy oci-archive:\(source.place)/\(file):\(source.version) docker://REGISTRY/\(source.name):\(source.version)"
        ]
    }

    /// Takes a text among the blobs and describes it.
    private static func descriptor(
        _ type: String, _ data: Data, _ blobs: inout [String: (file: URL?, data: Data, size: Int)]
    ) -> PipelineSpec.JSONValue {
        let digest = Digest.sha256(data)
        blobs[digest] = (nil, data, data.count)
        return .object([
            "mediaType": .string(type), "digest": .string(digest), "size": .integer(data.count),
        ])
    }

    private static func mediaType(of name: String) -> String {
        if name.hasSuffix(".safetensors") { return "application/vnd.cncf.model.weight.v1.raw" }
        if name.hasSuffix(".md") { return "application/vnd.cncf.model.doc.v1.raw" }
        return "application/vnd.cncf.model.weight.config.v1.raw"
    }
}
