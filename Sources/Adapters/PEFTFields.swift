package import TensorCore

/// The members of an `adapter_config.json`, taken out one by one, so that what nobody took can be judged at the end.
package struct PEFTFields {
    /// The path that errors name.
    package let file: String
    private var members: [JSONValue.Member]

    /// - Throws: ``AdapterError`` when `value` is not an object.
    package init(_ value: JSONValue, file: String) throws {
        guard case .object(let members) = value else {
            throw AdapterError(.configuration, "\(file) is not a JSON object")
        }
        self.file = file
        self.members = members
    }

    /// Takes a member out; `nil` when it is not there.
    package mutating func take(_ key: String) -> JSONValue? {
        guard let index = members.firstIndex(where: { $0.key == key }) else { return nil }
        return members.remove(at: index).value
    }

    /// Takes a whole number; `nil` when it is absent or null.
    package mutating func takeInteger(_ key: String) throws -> Int? {
        try takePresent(key).map { try integer($0, key) }
    }

    /// Takes a number.
    package mutating func takeNumber(_ key: String) throws -> Double? {
        try takePresent(key).map { try number($0, key) }
    }

    /// Takes a Boolean.
    package mutating func takeFlag(_ key: String) throws -> Bool? {
        try takePresent(key).map { value in
            guard case .bool(let flag) = value else { throw mistake(key, value, "must be true or false") }
            return flag
        }
    }

    /// Takes a string.
    package mutating func takeString(_ key: String) throws -> String? {
        try takePresent(key).map { value in
            guard case .string(let string) = value else { throw mistake(key, value, "must be a string") }
            return string
        }
    }

    /// Takes module names: a list of strings, or a string that is a pattern.
    mutating func takeNames(_ key: String) throws -> TargetModules.Names? {
        try takePresent(key).map { value in
            switch value {
            case .string(let pattern): return .pattern(pattern)
            case .array(let elements):
                return .list(
                    try elements.map { element in
                        guard case .string(let name) = element else { throw mistake(key, value, "must hold strings") }
                        return name
                    })
            default: throw mistake(key, value, "must be a list of strings or a string")
            }
        }
    }

    /// Takes a whole number or a list of them.
    mutating func takeIntegers(_ key: String) throws -> [Int]? {
        try takePresent(key).map { value in
            guard case .array(let elements) = value else { return [try integer(value, key)] }
            return try elements.map { try integer($0, key) }
        }
    }

    /// Takes an object of module patterns and numbers.
    mutating func takePatternMap(_ key: String, integer isInteger: Bool) throws -> ModulePatternMap<Double> {
        guard let value = takePresent(key) else { return .empty }
        guard case .object(let members) = value else { throw mistake(key, value, "must be an object") }
        return try ModulePatternMap(
            members.map { member in
                let number = isInteger ? Double(try integer(member.value, key)) : try number(member.value, key)
                return (member.key, number)
            })
    }

    /// An error for a value that is understood and not supported.
    package func refusal(_ key: String, _ value: JSONValue, _ reason: String) -> AdapterError {
        AdapterError(.unsupported, "\(file): \(key) \(value.text) is not supported: \(reason)")
    }

    /// Refuses every member that is left and says something.
    ///
    /// Null, false, 0, an empty string, list or object ask for nothing, whatever the key. Anything else may change what
    /// the adapter computes, and passing over it would give wrong results in silence.
    package func refuseRest() throws {
        for member in members {
            switch member.value {
            case .null, .bool(false), .array([]), .object([]), .string(""), .number("0"), .number("0.0"): continue
            default:
                throw refusal(
                    member.key, member.value,
                    "this option, or this key, may change what the adapter computes")
            }
        }
    }

    private mutating func takePresent(_ key: String) -> JSONValue? {
        let value = take(key)
        return value == .null ? nil : value
    }

    private func number(_ value: JSONValue, _ key: String) throws -> Double {
        guard case .number(let digits) = value, let number = Double(digits), number.isFinite else {
            throw mistake(key, value, "must be a number")
        }
        return number
    }

    private func integer(_ value: JSONValue, _ key: String) throws -> Int {
        guard let integer = Int(exactly: try number(value, key)) else {
            throw mistake(key, value, "must be a whole number")
        }
        return integer
    }

    private func mistake(_ key: String, _ value: JSONValue, _ what: String) -> AdapterError {
        AdapterError(.configuration, "\(file): \(key) \(what), not \(value.text)")
    }
}
