import Foundation

/// The index of a sharded checkpoint: `{"metadata": {"total_size": n}, "weight_map": {tensor: file}}`.
struct ShardIndex {
    /// The name of the file, in the same folder, that holds each tensor.
    let weightMap: [String: String]
    /// The bytes of all tensors.
    let totalByteCount: Int

    /// The file names, sorted.
    var files: [String] { Set(weightMap.values).sorted() }

    init(weightMap: [String: String], totalByteCount: Int) {
        self.weightMap = weightMap
        self.totalByteCount = totalByteCount
    }

    /// Reads an index.
    ///
    /// `total_size` is not looked at: some tools count tied tensors twice.
    ///
    /// - Throws: ``WeightFileError`` with code `malformed`, `notFound` or `system`.
    init(_ url: URL) throws {
        let file = try MappedFile(url)
        var map: [String: String]?
        do {
            var cursor = JSONCursor(file.bytes)
            try cursor.readObject { cursor, key in
                guard key == "weight_map" else { return try cursor.skipValue() }
                var entries: [String: String] = [:]
                try cursor.readObject { cursor, name in entries[name] = try cursor.readString() }
                map = entries
            }
            try cursor.readEnd()
        } catch let failure as JSONCursor.Failure {
            throw WeightFileError(.malformed, file: file.path, "is wrong at byte \(failure.offset): \(failure.message)")
        }
        guard let map, !map.isEmpty else {
            throw WeightFileError(.malformed, file: file.path, "has no \"weight_map\", or an empty one")
        }
        // A shard lies beside its index; a path would let a downloaded folder reach any file.
        for (name, shard) in map where shard.contains("/") || !shard.hasSuffix(".safetensors") {
            throw WeightFileError(
                .malformed, file: file.path, tensor: name,
                "\"\(shard)\" is not the name of a safetensors file beside it")
        }
        self.init(weightMap: map, totalByteCount: 0)
    }

    /// The tensors a file holds, sorted.
    func names(in file: String) -> [String] {
        weightMap.filter { $0.value == file }.keys.sorted()
    }

    /// The text of the index, as Python's `json.dumps(indent=2, sort_keys=True)` lays it out, with a final newline.
    var text: [UInt8] {
        let names = weightMap.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let entries = names.map { "    \($0.jsonQuoted): \((weightMap[$0] ?? "").jsonQuoted)" }
        let text = """
            {
              "metadata": {
                "total_size": \(totalByteCount)
              },
              "weight_map": {
            \(entries.joined(separator: ",\n"))
              }
            }

            """
        return Array(text.utf8)
    }
}
