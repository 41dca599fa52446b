/// One thing that is wrong, or doubtful, in a file a person wrote: what, where, and what to do about it.
package struct Finding: Codable, Sendable, Hashable {
    /// A stable word for programs. New ones may be added; none changes its meaning.
    package struct Code: RawRepresentable, Codable, Sendable, Hashable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }
    }

    /// Whether the finding refuses the file.
    package enum Severity: String, Codable, Sendable { case error, warning }

    package var code: Code
    package var severity: Severity
    /// Line and column in the file, both from 1; columns count Unicode scalars. `nil` where no place is to blame.
    package var line: Int?
    package var column: Int?
    /// JSON pointer (RFC 6901) of the value, such as `/adapter/rank`; empty for the whole file.
    package var pointer: String
    /// One sentence of at most 200 characters, free of control characters whatever the file held.
    package var message: String
    /// What to write instead.
    package var hint: String?

    package init(
        _ code: Code, severity: Severity = .error, at mark: SourceMark? = nil, pointer: String = "",
        _ message: String, hint: String? = nil
    ) {
        self.code = code
        self.severity = severity
        self.line = mark?.line
        self.column = mark?.column
        self.pointer = PrintableText.line(pointer, limit: 200)
        self.message = PrintableText.line(message, limit: 200)
        self.hint = hint.map { PrintableText.line($0, limit: 200) }
    }
}

extension Finding {
    /// Of a file that is longer than what is read of one: the same words whoever notices.
    package static func tooLarge(bytes: Int, limit: Int) -> Finding {
        Finding(
            .tooLarge, "the file has \(bytes) bytes; at most \(limit) are read",
            hint: "name data files by their paths instead of writing their content here")
    }
}

extension Finding.Code {
    // The file as bytes and as YAML.
    package static let empty = Self(rawValue: "empty")
    package static let binary = Self(rawValue: "binary")
    package static let notUTF8 = Self(rawValue: "not_utf8")
    package static let tooLarge = Self(rawValue: "too_large")
    package static let controlCharacter = Self(rawValue: "control_character")
    package static let syntax = Self(rawValue: "syntax")
    /// The file ends in the middle of something; an intake may wait for the rest.
    package static let truncated = Self(rawValue: "truncated")
    package static let multipleDocuments = Self(rawValue: "multiple_documents")
    package static let anchor = Self(rawValue: "anchor")
    package static let tag = Self(rawValue: "tag")
    package static let mergeKey = Self(rawValue: "merge_key")
    package static let duplicateKey = Self(rawValue: "duplicate_key")
    package static let tooDeep = Self(rawValue: "too_deep")
    package static let tooManyNodes = Self(rawValue: "too_many_nodes")
    package static let valueTooLong = Self(rawValue: "value_too_long")

    // Keys and values.
    package static let unknownKey = Self(rawValue: "unknown_key")
    package static let missingKey = Self(rawValue: "missing_key")
    package static let wrongType = Self(rawValue: "wrong_type")
    package static let outOfRange = Self(rawValue: "out_of_range")
    package static let invalidValue = Self(rawValue: "invalid_value")
    /// Two keys that exclude each other are both written.
    package static let conflict = Self(rawValue: "conflict")
    /// Part of the contract, but not built yet.
    package static let unsupported = Self(rawValue: "unsupported")

    // What the values refer to.
    package static let pathNotFound = Self(rawValue: "path_not_found")
    package static let pathOutsideRoots = Self(rawValue: "path_outside_roots")
    package static let notARegularFile = Self(rawValue: "not_a_regular_file")
    /// A base folder without `config.json`.
    package static let baseIncomplete = Self(rawValue: "base_incomplete")
    package static let referenceNotFound = Self(rawValue: "reference_not_found")
    /// A file without a date in its name, where a window goes by dates.
    /// Files that `data.window` leaves none of.
    package static let emptyWindow = Self(rawValue: "empty_window")
    package static let undatedFile = Self(rawValue: "undated_file")
    package static let overlappingSplits = Self(rawValue: "overlapping_splits")
    /// A gate that can never let a version pass, or looks at what is not measured.
    package static let badGate = Self(rawValue: "bad_gate")
    /// A gate, and no general text by which forgetting would be seen.
    package static let noRetention = Self(rawValue: "no_retention")
    package static let unknownQueue = Self(rawValue: "unknown_queue")
    /// A target of notices that `lorajobs.yaml` does not define.
    package static let unknownTarget = Self(rawValue: "unknown_target")

    // Pipelines.
    package static let pipelineNotFound = Self(rawValue: "pipeline_not_found")
    package static let pipelineInvalid = Self(rawValue: "pipeline_invalid")
    package static let unknownStage = Self(rawValue: "unknown_stage")
    package static let cycle = Self(rawValue: "cycle")
    package static let missingRequirement = Self(rawValue: "missing_requirement")
}

/// A file that was refused: all its findings, in the order of its lines.
package struct InvalidFile: Error, Sendable, Equatable, CustomStringConvertible {
    /// Never empty; every finding, however many.
    package let findings: [Finding]

    package init(_ findings: [Finding]) {
        precondition(!findings.isEmpty, "a refusal needs a reason")
        self.findings = findings.inLineOrder
    }

    package var description: String {
        let shown = findings.prefix(ValidationReport.limit).map { finding in
            let place = finding.line.map { "line \($0), col \(finding.column ?? 1): " } ?? ""
            return place + finding.message + (finding.hint.map { "; \($0)" } ?? "")
        }
        return shown.joined(separator: "\n")
    }
}

extension [Finding] {
    /// The findings from the first line to the last; those without a place come at the end.
    package var inLineOrder: [Finding] {
        enumerated().sorted { a, b in
            let left = (a.element.line ?? .max, a.element.column ?? .max, a.offset)
            return left < (b.element.line ?? .max, b.element.column ?? .max, b.offset)
        }.map(\.element)
    }

    package var hasErrors: Bool { contains { $0.severity == .error } }
}
