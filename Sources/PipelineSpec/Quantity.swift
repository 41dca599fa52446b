import Foundation

/// Durations, sizes and shares as people write them: always with their unit.
package enum Quantity {
    /// Seconds in `8h`, `90m`, `6h30m`, `1.5h`, `45s`, `2d`; `nil` when `text` is not such a duration.
    package static func seconds(_ text: String) -> Double? {
        let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800]
        var rest = text[...]
        var total = 0.0
        var last = Double.infinity
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            guard let value = decimal(digits), let unit = rest.dropFirst(digits.count).first,
                let scale = units[unit], scale < last
            else { return nil }
            total += value * scale
            last = scale
            rest = rest.dropFirst(digits.count + 1)
        }
        return total
    }

    /// `seconds` as ``seconds(_:)`` reads it: `6h30m`.
    package static func duration(_ seconds: Double) -> String {
        var rest = seconds
        var text = ""
        for (unit, scale) in [("h", 3600.0), ("m", 60.0)] where rest >= scale {
            text += "\(JSONValue.text(of: (rest / scale).rounded(.down)))\(unit)"
            rest -= (rest / scale).rounded(.down) * scale
        }
        if rest > 0 || text.isEmpty { text += JSONValue.text(of: rest) + "s" }
        return text
    }

    /// Bytes in `512MiB`, `1GB`, `4096B`; `nil` when `text` is not such a size.
    package static func bytes(_ text: String) -> Int? {
        let units: [String: Double] = [
            "B": 1, "KiB": 1024, "MiB": 1_048_576, "GiB": 1_073_741_824, "TiB": 1_099_511_627_776,
            "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
        ]
        let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        let unit = text.dropFirst(digits.count).trimmingCharacters(in: .whitespaces)
        guard let value = decimal(digits), let scale = units[unit], value * scale < 9e18 else { return nil }
        return Int((value * scale).rounded())
    }

    /// `count` bytes as ``bytes(_:)`` reads it, in the largest unit that divides it.
    package static func size(_ count: Int) -> String {
        for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        where count > 0 && count % (1 << shift) == 0 {
            return "\(count >> shift)\(unit)"
        }
        return "\(count)B"
    }

    /// The share in `3%`: 0.03; `nil` when `text` is not a percentage.
    package static func share(_ text: String) -> Double? {
        guard text.hasSuffix("%") else { return nil }
        let digits = text.dropLast().trimmingSuffix(" ")
        guard digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else { return nil }
        return decimal(digits).map { $0 / 100 }
    }

    /// `share` as ``share(_:)`` reads it, in the fewest digits that give the same share back.
    package static func percent(_ share: Double) -> String {
        let scaled = share * 100
        for digits in 1...17 {
            let text = String(format: "%.\(digits)g", scaled)
            if let value = Double(text), value / 100 == share { return JSONValue.text(of: value) + "%" }
        }
        // The product may have been rounded away from the number that was divided.
        let neighbour = [scaled.nextUp, scaled.nextDown].first { $0 / 100 == share }
        return JSONValue.text(of: neighbour ?? scaled) + "%"
    }

    private static func decimal(_ digits: some StringProtocol) -> Double? {
        guard let first = digits.first, first.isASCII, first.isNumber, digits.last != "." else { return nil }
        return Double(digits)
    }
}

extension Substring {
    /// Without the trailing run of `character`.
    fileprivate func trimmingSuffix(_ character: Character) -> Substring {
        var result = self
        while result.last == character { result.removeLast() }
        return result
    }
}
