import Foundation
import TestSupport
import Testing

@testable import Tokenizers

/// The trie finds what it holds and nothing else, and takes room in proportion to that.
struct ByteTrieTests {
    @Test func findsWhatItHolds() {
        var generator = TextGenerator(seed: 5)
        for bytes in [2, 7, 256] {
            var expected: [[UInt8]: Int32] = [:]
            var entries: [(bytes: [UInt8], id: Int32)] = []
            for id in 0..<3000 {
                let length = generator.next(below: 9)
                let key = (0..<length).map { _ in UInt8(generator.next(below: bytes)) }
                entries.append((key, Int32(id)))
                expected[key] = Int32(id)
            }
            let trie = ByteTrie(entries)
            for (key, id) in expected {
                let node = trie.node(of: key)
                #expect(node >= 0 && trie.id(at: node) == id)
            }
            for _ in 0..<3000 {
                let key = (0..<generator.next(below: 6)).map { _ in UInt8(generator.next(below: bytes)) }
                let node = trie.node(of: key)
                #expect((node < 0 ? nil : Optional(trie.id(at: node)).flatMap { $0 < 0 ? nil : $0 }) == expected[key])
            }
        }
    }

    @Test(arguments: ["bert-base-uncased", "t5-unigram"])
    func isHardlyLargerThanItsNodes(name: String) throws {
        guard let folder = try TestData.folder("tokenizers/\(name)") else { return }
        let entries = try Tokenizer.load(folder: folder).model.vocabulary.byteEntries
        var prefixes: Set<ArraySlice<UInt8>> = []
        for entry in entries { for end in 0...entry.bytes.count { prefixes.insert(entry.bytes[..<end]) } }
        let trie = ByteTrie(entries)
        #expect(trie.unitCount < prefixes.count * 3 / 2 + 1024, "\(trie.unitCount) for \(prefixes.count) nodes")
    }
}
