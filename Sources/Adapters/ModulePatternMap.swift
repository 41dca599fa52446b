import TensorCore

/// Values by module pattern, in order: the first key that matches a path, or its end, decides.
package struct ModulePatternMap<Value: Sendable & Equatable>: Sendable, Equatable {
    private let entries: [Entry]

    private struct Entry: Sendable, Equatable {
        let pattern: String
        let value: Value
    }

    /// - Throws: ``AdapterError`` for a key that is not a pattern.
    package init(_ entries: [(pattern: String, value: Value)]) throws {
        for (pattern, _) in entries { _ = try ModulePattern(matchingEndOf: pattern) }
        self.entries = entries.map { Entry(pattern: $0.pattern, value: $0.value) }
    }

    private init(entries: [Entry]) { self.entries = entries }

    package static var empty: ModulePatternMap { ModulePatternMap(entries: []) }

    package var values: [Value] { entries.map(\.value) }
    /// The keys, in their order.
    package var patterns: [String] { entries.map(\.pattern) }

    /// The value for a module, or `nil` when no key matches.
    package func value(for path: String) throws -> Value? {
        try entries.first { try ModulePattern(matchingEndOf: $0.pattern).matches(path) }?.value
    }

    func mapValues<Other>(_ transform: (Value) -> Other) -> ModulePatternMap<Other> {
        ModulePatternMap<Other>(entries: entries.map { .init(pattern: $0.pattern, value: transform($0.value)) })
    }

    /// A JSON object in the map's own order, which decides which key a module takes.
    func json(_ encode: (Value) -> JSONValue) -> JSONValue {
        .object(entries.map { JSONValue.Member($0.pattern, encode($0.value)) })
    }
}
