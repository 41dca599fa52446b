/// What a sequence, or each of its tokens, is to be judged as by a model with a head for that.
package enum SequenceLabel: Sendable, Hashable {
    /// One of the job's classes, by its index.
    case `class`(Int32)
    /// A number for each output of the head: what a regression is to give, or 0 or 1 for each of several classes.
    case values([Float])
    /// The index of a class for each token; negative for a token that has none.
    case tokens([Int32])

    /// How many judgements it asks for.
    package var targetCount: Int {
        switch self {
        case .class(let index): index >= 0 ? 1 : 0
        case .values: 1
        case .tokens(let indices): indices.count { $0 >= 0 }
        }
    }
}

/// The labels of all sequences of a dataset, which are of one kind. Its raw value is a flag of the file.
enum SequenceLabelKind: UInt32, CaseIterable, Sendable {
    case `class` = 2
    case values = 4
    case tokens = 8

    init(_ label: SequenceLabel) {
        self =
            switch label {
            case .class: .class
            case .values: .values
            case .tokens: .tokens
            }
    }

    /// What stands for a label that is missing: an index that is none, or a number that is none.
    var filler: UInt32 { self == .values ? Float.nan.bitPattern : UInt32(bitPattern: -1) }
}

extension SequenceLabel {
    /// The label as it is written, four bytes an entry.
    var words: [UInt32] {
        switch self {
        case .class(let index): [UInt32(bitPattern: index)]
        case .values(let values): values.map(\.bitPattern)
        case .tokens(let indices): indices.map { UInt32(bitPattern: $0) }
        }
    }

    /// Reads a label back; `nil` for one that is missing.
    init?(_ kind: SequenceLabelKind, _ words: [UInt32]) {
        switch kind {
        case .class:
            guard let index = words.first.map({ Int32(bitPattern: $0) }), index >= 0 else { return nil }
            self = .class(index)
        case .values:
            guard !words.contains(where: { Float(bitPattern: $0).isNaN }) else { return nil }
            self = .values(words.map { Float(bitPattern: $0) })
        case .tokens:
            let indices = words.map { Int32(bitPattern: $0) }
            guard indices.contains(where: { $0 >= 0 }) else { return nil }
            self = .tokens(indices)
        }
    }
}
