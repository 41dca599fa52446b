import Foundation
import Glibc

/// The functions every template can call.
enum JinjaGlobals {
    /// The global of that name; `nil` when there is none.
    static func value(of name: String) throws -> JinjaValue? {
        switch name {
        case "range": try function(range)
        case "dict": try dictionary()
        case "namespace": try function(namespace)
        case "joiner": try function(joiner)
        case "cycler": try function(cycler)
        case "raise_exception": try function(raise)
        case "strftime_now": try function(now)
        default: nil
        }
    }

    private static func function(
        _ body: @escaping (JinjaInterpreter, JinjaArguments) throws -> JinjaValue
    ) throws -> JinjaValue {
        .callable(try JinjaCallable(body))
    }

    private static func range(_ interpreter: JinjaInterpreter, _ arguments: JinjaArguments) throws -> JinjaValue {
        let values = try arguments.bound(to: ["", "", ""], of: "range", required: 1).compactMap { $0 }
        let numbers = try values.map(JinjaFilters.integer)
        return .range(
            numbers.count == 1
                ? try JinjaRange(from: 0, to: numbers[0], by: 1)
                : try JinjaRange(from: numbers[0], to: numbers[1], by: numbers.count > 2 ? numbers[2] : 1))
    }

    /// The pairs that `dict(...)` and `namespace(...)` are made of.
    private static func pairs(
        _ name: String, _ interpreter: JinjaInterpreter, _ arguments: JinjaArguments
    ) throws -> [(JinjaValue, JinjaValue)] {
        guard arguments.positional.count <= 1 else { throw JinjaFailure.invalid("\(name) takes one argument") }
        var pairs: [(JinjaValue, JinjaValue)] = []
        if case .dict(let dict)? = arguments.positional.first {
            pairs = dict.pairs.map { ($0.key, $0.value) }
        } else if let iterable = arguments.positional.first {
            for item in try interpreter.items(of: iterable) {
                let pair = try interpreter.items(of: item)
                guard pair.count == 2 else { throw JinjaFailure.invalid("\(name) takes pairs of key and value") }
                pairs.append((pair[0], pair[1]))
            }
        }
        return pairs + arguments.keywords.map { (.string($0.name), $0.value) }
    }

    private static func dictionary() throws -> JinjaValue {
        .callable(
            try JinjaCallable(
                attribute: { name in
                    guard name == "fromkeys" else { return nil }
                    return .callable(
                        try JinjaCallable { interpreter, arguments in
                            let values = try arguments.bound(to: ["", ""], of: "fromkeys", required: 1)
                            let keys = try interpreter.items(of: values[0] ?? .none)
                            return .dict(try JinjaDict(keys.map { ($0, values[1] ?? .none) }))
                        })
                }
            ) { interpreter, arguments in
                .dict(try JinjaDict(try pairs("dict", interpreter, arguments)))
            })
    }

    private static func namespace(
        _ interpreter: JinjaInterpreter, _ arguments: JinjaArguments
    ) throws -> JinjaValue {
        let namespace = JinjaNamespace()
        for (key, value) in try pairs("namespace", interpreter, arguments) {
            guard let name = key.text else { throw JinjaFailure.unsupported("a namespace whose keys are no strings") }
            try namespace.set(name.text, value)
        }
        interpreter.keep(namespace)
        return .namespace(namespace)
    }

    private static func joiner(_ interpreter: JinjaInterpreter, _ arguments: JinjaArguments) throws -> JinjaValue {
        let separator = try arguments.bound(to: ["sep"], of: "joiner")[0] ?? .string(", ")
        var isUsed = false
        return .callable(
            try JinjaCallable(depth: separator.depth) { _, arguments in
                _ = try arguments.bound(to: [], of: "a joiner")
                defer { isUsed = true }
                return isUsed ? separator : .string("")
            })
    }

    private static func cycler(_ interpreter: JinjaInterpreter, _ arguments: JinjaArguments) throws -> JinjaValue {
        let items = try arguments.onlyPositional("cycler")
        guard !items.isEmpty else { throw JinjaFailure.invalid("cycler needs at least one item") }
        var place = 0
        let depth = try JinjaSequence(items).depth
        return .callable(
            try JinjaCallable(
                depth: depth,
                attribute: { name in
                    switch name {
                    case "current": items[place]
                    case "pos": .int(place)
                    case "items": .tuple(try JinjaSequence(items))
                    case "next":
                        .callable(
                            try JinjaCallable(depth: depth) { _, _ in
                                defer { place = (place + 1) % items.count }
                                return items[place]
                            })
                    case "reset":
                        .callable(
                            try JinjaCallable(depth: depth) { _, _ in
                                place = 0
                                return .none
                            })
                    default: nil
                    }
                }
            ) { _, _ in throw JinjaFailure.invalid("a cycler is not called; call its next()") })
    }

    private static func raise(_ interpreter: JinjaInterpreter, _ arguments: JinjaArguments) throws -> JinjaValue {
        let message = try arguments.bound(to: ["message"], of: "raise_exception", required: 1)[0] ?? .none
        throw JinjaFailure(.templateRaised, "the template refuses: \(try interpreter.text(of: message).text)")
    }

    private static func now(_ interpreter: JinjaInterpreter, _ arguments: JinjaArguments) throws -> JinjaValue {
        let format = try arguments.bound(to: ["format"], of: "strftime_now", required: 1)[0]
        guard let text = format?.text else { throw JinjaFailure.invalid("strftime_now takes a string") }
        guard text.size < 1000 else { throw JinjaFailure.unsupported("a date format of \(text.size) bytes") }
        var seconds = time_t(interpreter.clock.timeIntervalSince1970.rounded(.down))
        var parts = tm()
        localtime_r(&seconds, &parts)
        // One character before the format tells an empty result from a buffer that is too small.
        var buffer = [CChar](repeating: 0, count: 64 * 1024)
        let count = strftime(&buffer, buffer.count, "." + text.text, &parts)
        guard count > 0 else { throw JinjaFailure.unsupported("a date that long") }
        return .string(String(decoding: buffer[1..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }
}
