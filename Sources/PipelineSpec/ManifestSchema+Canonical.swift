package import Foundation

extension ManifestSchema {
    /// The manifest as the file would write it, every key that is in force. Equal manifests give equal values,
    /// and the value is itself a manifest that resolves to the same job.
    ///
    /// - Parameter keys: fields and sections to keep, such as `data` or `train.seed`; `nil` keeps everything. A
    ///   key that does not exist is a programmer's error.
    package static func canonical(_ manifest: JobManifest, keys: [String]? = nil) -> JSONValue {
        for key in keys ?? [] { precondition(isKnown(key), "\(key) is no key of the manifest") }
        var root: [String: JSONValue] = [:]
        for field in fields {
            let isWanted = keys?.contains { field.path == $0 || field.path.hasPrefix($0 + ".") } ?? true
            let value = field.get(manifest)
            if !isWanted || (value == .null && field.excludes != nil) { continue }
            insert(value, at: field.path.split(separator: ".").map(String.init)[...], into: &root)
        }
        return .object(root)
    }

    /// ``canonical(_:keys:)`` as bytes: sorted keys, no white space, one spelling per number.
    package static func canonicalJSON(of manifest: JobManifest, keys: [String]? = nil) -> Data {
        canonical(manifest, keys: keys).data()
    }

    /// The manifest that ``canonical(_:keys:)`` describes. Keys that are missing take their defaults, keys of
    /// other versions are passed over: a job may be read by another version than wrote it.
    package static func manifest(from value: JSONValue) throws -> JobManifest {
        guard case .object = value else { throw SpecError(.key, "a manifest must be a mapping") }
        var manifest = defaults
        for field in fields {
            var member: JSONValue? = value
            for word in field.path.split(separator: ".") { member = member?[String(word)] }
            guard let member else {
                if field.isRequired { throw SpecError(.key, "\(field.path) is missing") }
                continue
            }
            do {
                try field.set(&manifest, member)
            } catch let error as SpecError {
                throw SpecError(.key, "\(field.path): \(error.description)")
            }
        }
        return manifest
    }

    /// The value of a field or a section, as a pipeline's `when:` sees it; `nil` when there is no such key.
    package static func value(of key: String, in manifest: JobManifest) -> JSONValue? {
        guard isKnown(key) else { return nil }
        if let field = field(key) { return field.get(manifest) }
        var value: JSONValue? = canonical(manifest, keys: [key])
        for word in key.split(separator: ".") { value = value?[String(word)] }
        return value ?? .null
    }

    private static func insert(_ value: JSONValue, at path: ArraySlice<String>, into object: inout [String: JSONValue])
    {
        guard let word = path.first else { return }
        guard path.count > 1 else { return object[word] = value }
        var inner: [String: JSONValue] = [:]
        if case .object(let members) = object[word] { inner = members }
        insert(value, at: path.dropFirst(), into: &inner)
        object[word] = .object(inner)
    }
}
