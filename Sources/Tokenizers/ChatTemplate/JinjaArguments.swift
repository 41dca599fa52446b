/// The evaluated arguments of a call.
struct JinjaArguments {
    var positional: [JinjaValue] = []
    var keywords: [(name: String, value: JinjaValue)] = []

    /// The arguments in the order of `names`; `nil` for one that is not given.
    ///
    /// A parameter that Python takes by position only has an empty name.
    func bound(to names: [String], of function: String, required: Int = 0) throws -> [JinjaValue?] {
        guard positional.count <= names.count else {
            throw JinjaFailure.invalid(
                "\(function) takes at most \(names.count) arguments, \(positional.count) are given")
        }
        var values = positional.map(Optional.some) + Array(repeating: nil, count: names.count - positional.count)
        for keyword in keywords {
            guard !keyword.name.isEmpty, let index = names.firstIndex(of: keyword.name) else {
                throw JinjaFailure.invalid("\(function) has no argument named '\(keyword.name)'")
            }
            guard values[index] == nil else {
                throw JinjaFailure.invalid("\(function) is given '\(keyword.name)' twice")
            }
            values[index] = keyword.value
        }
        guard values.prefix(required).allSatisfy({ $0 != nil }) else {
            throw JinjaFailure.invalid("\(function) needs \(required) argument\(required == 1 ? "" : "s")")
        }
        return values
    }

    /// The positional arguments, for what takes no others.
    func onlyPositional(_ function: String) throws -> [JinjaValue] {
        if let keyword = keywords.first {
            throw JinjaFailure.invalid("\(function) has no argument named '\(keyword.name)'")
        }
        return positional
    }
}
