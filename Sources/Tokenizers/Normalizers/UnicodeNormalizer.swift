import Foundation

/// `NFC`, `NFD`, `NFKC` and `NFKD`: the normalisation forms of Unicode Standard Annex 15.
///
/// Strings of the standard library normalise whole texts; here every resulting scalar must also remember where it came
/// from, so the algorithm (decompose, order by combining class, compose) is done scalar by scalar, on the stretches
/// that need it. A composed scalar stands for the origin of its starter. Characters newer than
/// ``UnicodeVersion/normalization`` are left alone.
struct UnicodeNormalizer: Normalizer {
    enum Form: Sendable { case nfc, nfd, nfkc, nfkd }

    private let form: Form

    init(_ form: Form, from node: JSONNode) throws {
        try node.allow(only: "type")
        self.form = form
    }

    init(_ form: Form) { self.form = form }

    func leavesUnchanged(_ utf8: UnsafeBufferPointer<UInt8>) -> Bool {
        if UTF8Reading.isASCII(utf8) { return true }
        guard form == .nfc else { return false }
        var index = 0
        while index < utf8.count {
            let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
            guard isInert(scalar) else { return false }
            index += length
        }
        return true
    }

    func normalize(_ text: inout AlignedText) {
        text.rewrite { utf8, output in
            var index = 0
            while index < utf8.count {
                // A stretch to normalise starts at an inert scalar followed by a scalar that is not, and lasts to the
                // next inert one: nothing composes or moves across such a border.
                var last = index
                var end = index
                var isQuiet = true
                while end < utf8.count {
                    let (scalar, length) = UTF8Reading.unicodeScalar(at: end, in: utf8)
                    if !isInert(scalar) {
                        isQuiet = false
                        break
                    }
                    last = end
                    end += length
                }
                if isQuiet {
                    output.copy(index..<end, of: utf8)
                    return
                }
                output.copy(index..<last, of: utf8)
                while end < utf8.count {
                    let (scalar, length) = UTF8Reading.unicodeScalar(at: end, in: utf8)
                    if isInert(scalar) { break }
                    end += length
                }
                normalize(last..<end, of: utf8, into: &output)
                index = end
            }
        }
    }

    /// Whether the scalar stays as it is, and is a border that nothing before it can change, in this form.
    private func isInert(_ scalar: Unicode.Scalar) -> Bool {
        let value = scalar.value
        if value < 0x80 { return true }
        guard form == .nfc else { return false }
        if value < 0x300 || (0x4E00...0x9FFF).contains(value) || (0xAC00...0xD7A3).contains(value) { return true }
        let properties = scalar.properties
        return properties.canonicalCombiningClass == .notReordered && !properties.isFullCompositionExclusion
            && !composesWithPrevious(value)
    }

    /// The scalars of combining class 0 that can be the second half of a composition (NFC_Quick_Check = Maybe), in
    /// whole stretches where that is shorter; a false positive costs time only.
    private func composesWithPrevious(_ value: UInt32) -> Bool {
        switch value {
        case 0x1161...0x1175, 0x11A8...0x11C2, 0x09BE, 0x09D7, 0x0B3E, 0x0B56, 0x0B57, 0x0BBE, 0x0BD7, 0x0CC2,
            0x0CD5, 0x0CD6, 0x0D3E, 0x0D57, 0x0DCF, 0x0DDF, 0x102E, 0x1B35, 0x11000...0x11FFF, 0x16100...0x16FFF:
            true
        default: false
        }
    }

    /// A scalar of the result.
    private struct Item {
        var scalar: Unicode.Scalar
        var combiningClass: UInt8
        /// How many old scalars it replaces: 0 for one that a decomposition added.
        var replaced: Int
    }

    private func normalize(
        _ range: Range<Int>, of utf8: UnsafeBufferPointer<UInt8>, into output: inout AlignedText.Rewriter
    ) {
        var items: [Item] = []
        var starts: [Int] = []
        var index = range.lowerBound
        while index < range.upperBound {
            let (scalar, length) = UTF8Reading.unicodeScalar(at: index, in: utf8)
            for (number, part) in decomposition(of: scalar).enumerated() {
                let isKnown = part.isAssigned(by: UnicodeVersion.normalization)
                let order = isKnown ? part.properties.canonicalCombiningClass.rawValue : 0
                items.append(Item(scalar: part, combiningClass: order, replaced: number == 0 ? 1 : 0))
            }
            starts.append(index)
            index += length
        }
        reorder(&items)
        if form == .nfc || form == .nfkc { items = composed(items) }
        // The results replace the old scalars in order; an added one has the origin of the scalar before it.
        var old = 0
        for item in items {
            output.append(item.scalar, originOf: starts[item.replaced > 0 ? old : max(old - 1, 0)])
            old += item.replaced
        }
    }

    /// The full decomposition of one scalar in this form's sense, canonical or compatible.
    func decomposition(of scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if scalar.isASCII || !scalar.isAssigned(by: UnicodeVersion.normalization) { return [scalar] }
        let text = String(Character(scalar))
        let isCanonical = form == .nfc || form == .nfd
        let parts =
            isCanonical ? text.decomposedStringWithCanonicalMapping : text.decomposedStringWithCompatibilityMapping
        return Array(parts.unicodeScalars)
    }

    /// Sorts every run of non-starters by combining class, keeping the order of equals.
    private func reorder(_ items: inout [Item]) {
        var start = 0
        while start < items.count {
            guard items[start].combiningClass != 0 else {
                start += 1
                continue
            }
            var end = start
            while end < items.count, items[end].combiningClass != 0 { end += 1 }
            let sorted = items[start..<end].enumerated().sorted {
                ($0.element.combiningClass, $0.offset) < ($1.element.combiningClass, $1.offset)
            }
            for (offset, item) in sorted.enumerated() { items[start + offset] = item.element }
            start = end
        }
    }

    /// Canonical composition; a composite replaces what its parts replaced.
    private func composed(_ items: [Item]) -> [Item] {
        var result: [Item] = []
        var starter: Int?
        var lastClass: UInt8 = 0
        for item in items {
            if let place = starter {
                let isAdjacent = result.count - 1 == place
                let isBlocked = !isAdjacent && lastClass >= item.combiningClass
                if !isBlocked, let whole = CanonicalComposition.composite(result[place].scalar, item.scalar) {
                    result[place].scalar = whole
                    result[place].replaced += item.replaced
                    continue
                }
            }
            if item.combiningClass == 0 { starter = result.count }
            lastClass = item.combiningClass
            result.append(item)
        }
        return result
    }
}
