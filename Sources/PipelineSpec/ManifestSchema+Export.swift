package import Foundation

extension ManifestSchema {
    /// The manifest as JSON Schema (draft 2020-12), for editors and other tools: what `lorajobs schema` prints.
    package static var jsonSchema: JSONValue {
        var root = section("")
        if case .object(var properties)? = root["properties"] {
            properties["schedule"] = ScheduleDefinition.jsonSchema
            properties["matrix"] = ManifestSweep.jsonSchema
            root["properties"] = .object(properties)
        }
        root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        root["title"] = "lorajobs manifest"
        root["description"] = "One job: the adapter or model to make, from which base and data, and how."
        return .object(root)
    }

    /// ``jsonSchema`` as UTF-8 text.
    package static var jsonSchemaData: Data { jsonSchema.data(pretty: true) }

    /// Every key as a row of a Markdown table, for the documentation.
    package static var markdownTable: String {
        var lines = ["| key | accepted | default | meaning |", "|---|---|---|---|"]
        for field in fields {
            let value = field.defaultValue.map { "`\($0.text())`" } ?? (field.isRequired ? "required" : "")
            let accepted = field.constraint.expectation.replacing("|", with: "\\|")
            let meaning = field.documentation.replacing("|", with: "\\|")
            lines.append("| `\(field.path)` | \(accepted) | \(value) | \(meaning) |")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func section(_ path: String) -> [String: JSONValue] {
        var properties: [String: JSONValue] = [:]
        var required: [JSONValue] = []
        for key in children(of: path) {
            let inner = path.isEmpty ? key : "\(path).\(key)"
            guard let field = field(inner) else {
                properties[key] = inner == "data" ? dataSchema : .object(section(inner))
                if inner == "data" { required.append(.string(key)) }
                continue
            }
            properties[key] = .object(schema(of: field))
            if field.isRequired { required.append(.string(key)) }
        }
        var result: [String: JSONValue] = [
            "type": "object", "additionalProperties": false, "properties": .object(properties),
        ]
        if !required.isEmpty { result["required"] = .array(required) }
        let pairs = fields.filter { field in
            field.path.split(separator: ".").dropLast().joined(separator: ".") == path
                && field.excludes.map { field.path < $0 } ?? false
        }
        if !pairs.isEmpty {
            result["allOf"] = .array(
                pairs.map { field in
                    let other = field.excludes?.split(separator: ".").last.map(String.init) ?? ""
                    return ["not": ["required": [.string(field.key), .string(other)]]]
                })
        }
        return result
    }

    private static var dataSchema: JSONValue {
        [
            "anyOf": [
                ["type": "string", "minLength": 1], ["type": "array", "items": ["type": "string"]],
                .object(section("data")),
            ]
        ]
    }

    private static func schema(of field: ManifestField) -> [String: JSONValue] {
        var schema = field.constraint.jsonSchema
        schema["description"] = .string(field.documentation)
        if let value = field.defaultValue { schema["default"] = value }
        return schema
    }
}
