package import TensorCore

/// The keys and values of one sequence's tokens so far, for every layer, so that a new token costs one row.
package final class KeyValueCache {
    private var keys: [Tensor]
    private var values: [Tensor]
    private let capacity: Int
    /// How many tokens every layer holds.
    package private(set) var length = 0

    /// Room for `capacity` tokens.
    ///
    /// - Parameter columns: elements of one token's keys in a layer: key/value heads times head size.
    package init(layers: Int, columns: Int, capacity: Int) {
        keys = (0..<layers).map { _ in Tensor(uninitialized: [capacity, columns]) }
        values = (0..<layers).map { _ in Tensor(uninitialized: [capacity, columns]) }
        self.capacity = capacity
    }

    /// Stores the rows of new tokens behind those of `layer` and returns all of them, `[length + new, columns]`.
    ///
    /// - Precondition: the new rows fit.
    package func append(_ newKeys: Tensor, _ newValues: Tensor, layer: Int) -> (keys: Tensor, values: Tensor) {
        let end = length + newKeys.rows
        precondition(end <= capacity, "KeyValueCache: \(end) tokens in room for \(capacity)")
        let place = length * newKeys.columns
        (keys[layer].pointer + place).update(from: newKeys.pointer, count: newKeys.count)
        (values[layer].pointer + place).update(from: newValues.pointer, count: newValues.count)
        return (keys[layer].prefix(rows: end), values[layer].prefix(rows: end))
    }

    /// Counts `tokens` as stored, once every layer has appended them.
    package func advance(_ tokens: Int) { length += tokens }
}
