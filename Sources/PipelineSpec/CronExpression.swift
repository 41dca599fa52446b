/// When something recurs, in cron's words: five fields, or a shortcut such as `@daily`.
///
/// Minute, hour, day of month, month, day of week; each `*`, a number, a range, a step or a list of these; months and
/// days of the week also by their English names of three letters, and 7 is Sunday too. As in every cron since Vixie's,
/// a day matches when the day of the month *or* the day of the week does, unless one of the two fields begins with
/// `*`: then both must.
package struct CronExpression: Sendable, Hashable, CustomStringConvertible {
    /// What is wrong with an expression.
    package struct Problem: Error, Sendable, Equatable, CustomStringConvertible {
        /// The field, such as `minute`; `nil` for the whole expression.
        package let field: String?
        /// Where in the expression, in Unicode scalars from 1.
        package let column: Int
        package let message: String
        /// What to write instead.
        package let hint: String?

        package var description: String {
            (field.map { "\($0), " } ?? "") + "column \(column): \(message)" + (hint.map { "; \($0)" } ?? "")
        }
    }

    /// As it was written, with single spaces.
    package let description: String
    let minutes: Set64
    let hours: Set64
    let daysOfMonth: Set64
    let months: Set64
    /// 0 is Sunday.
    let daysOfWeek: Set64
    /// Whether the fields of the day are alternatives.
    let isEitherDay: Bool

    /// Reads an expression.
    ///
    /// - Throws: ``Problem``, also for a date that no year has, such as `0 0 31 2 *`.
    package init(_ text: String) throws {
        let words = Self.words(Array(text.unicodeScalars))
        guard let first = words.first else {
            throw Problem(field: nil, column: 1, message: "there is nothing", hint: "every night: 30 2 * * *")
        }
        description = words.map(\.text).joined(separator: " ")
        var fields = words
        if first.text.hasPrefix("@") {
            let name = first.text.lowercased()
            guard words.count == 1, let meaning = Self.shortcuts[name] else {
                let near = KeySuggestion.nearest(name, among: Self.shortcuts.keys.sorted())
                throw Problem(
                    field: nil, column: first.column,
                    message: words.count > 1
                        ? "a shortcut stands alone" : "\(PrintableText.quoted(first.text)) is no shortcut",
                    hint: near.map { "did you mean \($0)?" }
                        ?? "there are \(Self.shortcuts.keys.sorted().joined(separator: ", "))")
            }
            fields = Self.words(Array(meaning.unicodeScalars))
        }
        guard fields.count == Field.all.count else {
            let isLong = fields.count > Field.all.count
            throw Problem(
                field: nil, column: isLong ? fields[Field.all.count].column : words[words.count - 1].column,
                message: "expected five fields: minute, hour, day of month, month, day of week; got \(fields.count)",
                hint: isLong ? "there is no field for seconds or years" : "every night: 30 2 * * *")
        }
        let sets = try zip(Field.all, fields).map { try $0.parse($1) }
        minutes = sets[0]
        hours = sets[1]
        daysOfMonth = sets[2]
        months = sets[3]
        daysOfWeek = sets[4].contains(7) ? sets[4].inserting(0).removing(7) : sets[4]
        isEitherDay = !fields[2].text.hasPrefix("*") && !fields[4].text.hasPrefix("*")
        let lengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        let isPossible = (1...12).contains { month in
            months.contains(month) && (daysOfMonth.first(from: 1) ?? 32) <= lengths[month - 1]
        }
        guard isPossible || isEitherDay else {
            throw Problem(
                field: "day of month", column: fields[2].column,
                message: "day \(fields[2].text) never comes in month \(fields[3].text)",
                hint: "a month has its 29th, 30th and 31st only where the calendar says so")
        }
    }

    /// Whether it names every hour, so that one that the clocks skip is not missed.
    var isEveryHour: Bool { (0...23).allSatisfy { hours.contains($0) } }

    private static let shortcuts = [
        "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
    ]

    fileprivate struct Word {
        var text: String
        /// From 1.
        var column: Int
    }

    private static func words(_ scalars: [Unicode.Scalar]) -> [Word] {
        var words: [Word] = []
        var current = String.UnicodeScalarView()
        for (index, scalar) in (scalars + [" "]).enumerated() {
            if !scalar.properties.isWhitespace {
                current.append(scalar)
            } else if !current.isEmpty {
                words.append(Word(text: String(current), column: index - current.count + 1))
                current = String.UnicodeScalarView()
            }
        }
        return words
    }

    /// Some of the numbers 0…63.
    struct Set64: Sendable, Hashable {
        private var bits: UInt64 = 0

        func contains(_ number: Int) -> Bool { bits >> UInt64(number) & 1 == 1 }

        /// The smallest member that is at least `number`.
        func first(from number: Int) -> Int? {
            guard number < 64 else { return nil }
            let rest = bits >> UInt64(number)
            return rest == 0 ? nil : number + rest.trailingZeroBitCount
        }

        mutating func insert(_ number: Int) { bits |= 1 << UInt64(number) }

        func inserting(_ number: Int) -> Set64 {
            var result = self
            result.insert(number)
            return result
        }

        func removing(_ number: Int) -> Set64 {
            var result = self
            result.bits &= ~(1 << UInt64(number))
            return result
        }
    }
}

/// One of the five fields.
private struct Field {
    let name: String
    let range: ClosedRange<Int>
    /// From the first number of the range on.
    var names: [String] = []

    static let all = [
        Field(name: "minute", range: 0...59), Field(name: "hour", range: 0...23),
        Field(name: "day of month", range: 1...31),
        Field(
            name: "month", range: 1...12,
            names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
        Field(name: "day of week", range: 0...7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
    ]

    func parse(_ word: CronExpression.Word) throws -> CronExpression.Set64 {
        var set = CronExpression.Set64()
        var column = word.column
        for part in word.text.split(separator: ",", omittingEmptySubsequences: false) {
            try add(String(part), at: column, to: &set)
            column += part.unicodeScalars.count + 1
        }
        return set
    }

    private func add(_ part: String, at column: Int, to set: inout CronExpression.Set64) throws {
        let halves = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let base = halves[0]
        let bounds: ClosedRange<Int>
        if base == "*" {
            bounds = range
        } else if let dash = base.firstIndex(of: "-") {
            let rest = String(base[base.index(after: dash)...])
            let low = try number(String(base[..<dash]), at: column)
            var high = try number(rest, at: column + base[...dash].unicodeScalars.count)
            // A week that begins on Monday ends on day 7.
            if range.upperBound == 7, high == 0, low > 0 { high = 7 }
            guard low <= high else {
                throw problem(
                    column, "the range \(PrintableText.quoted(base)) runs backwards",
                    hint: "write two: \(base[..<dash])-\(range.upperBound == 7 ? 6 : range.upperBound)"
                        + ",\(range.lowerBound)-\(rest)")
            }
            bounds = low...high
        } else {
            let value = try number(base, at: column)
            guard halves.count == 1 else {
                throw problem(
                    column, "a step follows * or a range, not a single value",
                    hint: "write \(base)-\(range.upperBound)/\(PrintableText.line(halves[1], limit: 20))")
            }
            bounds = value...value
        }
        var step = 1
        if halves.count == 2 {
            let place = column + base.unicodeScalars.count + 1
            guard halves[1].allSatisfy({ $0.isASCII && $0.isNumber }), let value = Int(halves[1]), value > 0 else {
                throw problem(place, "expected a step of at least 1, got \(PrintableText.quoted(halves[1]))")
            }
            guard value <= range.count else {
                throw problem(
                    place, "a step of \(value) is longer than the field, which has \(range.count) values",
                    hint: "cron counts within one \(name == "minute" ? "hour" : name == "hour" ? "day" : "year")")
            }
            step = value
        }
        for value in stride(from: bounds.lowerBound, through: bounds.upperBound, by: step) { set.insert(value) }
    }

    private func number(_ text: String, at column: Int) throws -> Int {
        if let index = names.firstIndex(of: text.lowercased()) {
            return names[index] == "sun" ? 0 : range.lowerBound + index
        }
        let isDigits = !text.isEmpty && text.allSatisfy { $0.isASCII && $0.isNumber }
        guard isDigits, let value = Int(text), range.contains(value) else {
            let extent =
                "\(range.lowerBound)…\(range.upperBound)" + (names.isEmpty ? "" : " or a name such as \(names[1])")
            throw problem(
                column,
                text.isEmpty
                    ? "a value is missing; expected \(extent)"
                    : "expected \(extent), got \(PrintableText.quoted(text))",
                hint: hint(for: text, isDigits: isDigits))
        }
        return value
    }

    private func hint(for text: String, isDigits: Bool) -> String? {
        if isDigits {
            return text == "24" && name == "hour" ? "midnight is hour 0" : nil
        }
        let word = text.lowercased()
        if let near = names.first(where: { word.hasPrefix($0) }) ?? KeySuggestion.nearest(word, among: names) {
            return "did you mean \(near)?"
        }
        return text.contains { "?LW#".contains($0) }
            ? "?, L, W and # are another program's; cron has none of them" : nil
    }

    private func problem(_ column: Int, _ message: String, hint: String? = nil) -> CronExpression.Problem {
        CronExpression.Problem(field: name, column: column, message: message, hint: hint)
    }
}
