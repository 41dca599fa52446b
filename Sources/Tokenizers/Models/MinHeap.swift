/// A binary heap of 64-bit keys, smallest first, in a buffer of the caller's.
enum MinHeap {
    static func makeHeap(_ heap: inout GrowableBuffer<UInt64>) {
        let count = heap.count
        guard count > 1 else { return }
        for index in stride(from: count / 2 - 1, through: 0, by: -1) { siftDown(heap.base, index, count) }
    }

    static func push(_ key: UInt64, _ heap: inout GrowableBuffer<UInt64>) {
        heap.append(key)
        let base = heap.base
        var index = heap.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            if base[parent] <= key { break }
            base[index] = base[parent]
            index = parent
        }
        base[index] = key
    }

    static func popMinimum(_ heap: inout GrowableBuffer<UInt64>) -> UInt64? {
        guard heap.count > 0 else { return nil }
        let base = heap.base
        let top = base[0]
        let count = heap.count - 1
        base[0] = base[count]
        heap.resize(to: count)
        if count > 1 { siftDown(base, 0, count) }
        return top
    }

    private static func siftDown(_ base: UnsafeMutablePointer<UInt64>, _ start: Int, _ count: Int) {
        let key = base[start]
        var index = start
        while true {
            var child = 2 * index + 1
            if child >= count { break }
            if child + 1 < count, base[child + 1] < base[child] { child += 1 }
            if base[child] >= key { break }
            base[index] = base[child]
            index = child
        }
        base[index] = key
    }
}
