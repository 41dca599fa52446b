/// Descriptions of tokenizers are written as literals.
extension OrderedJSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// The string.
    package init(stringLiteral value: String) { self = .string(value) }
    /// The flag.
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    /// The number.
    package init(integerLiteral value: Int) { self = .integer(value) }
    /// Null.
    package init(nilLiteral: ()) { self = .null }
    /// The array.
    package init(arrayLiteral elements: OrderedJSON...) { self = .array(elements) }
    /// The object, its members in this order.
    package init(dictionaryLiteral elements: (String, OrderedJSON)...) {
        self = .object(elements.map { (key: $0, value: $1) })
    }
}
