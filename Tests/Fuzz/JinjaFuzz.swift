import Foundation

/// Feeds a text to the Jinja interpreter as a chat template: it must render or fail, in bounded time, stack and memory.
///
/// Built together with the sources of Tokenizers as one module, so that internal names are in reach.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJinja(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let bytes, count > 0 else { return 0 }
    let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    guard var template = try? ChatTemplate(text, specialTokens: ["bos_token": "<s>", "eos_token": "</s>"]) else {
        return 0
    }
    template.limits.steps = 50_000
    template.limits.bytes = 1 << 20
    let messages = conversation
    _ = try? template.render(
        messages: messages, tools: tools, addGenerationPrompt: true, clock: Date(timeIntervalSince1970: 0))
    if let result = try? template.spans(
        messages: messages, trainOn: ["assistant", "user"], clock: Date(timeIntervalSince1970: 0))
    {
        let length = result.text.unicodeScalars.count
        var last = 0
        for span in result.spans {
            precondition(span.range.lowerBound >= last && span.range.upperBound <= length, "spans out of order")
            last = span.range.upperBound
        }
    }
    return 0
}

private func message(_ role: String, _ content: String) -> OrderedJSON {
    .object([("role", .string(role)), ("content", .string(content))])
}

private let conversation: [OrderedJSON] = [
    message("system", "s"), message("user", "héllo 😀\n"), message("assistant", " <think>x</think>one "),
    message("user", "u"), message("assistant", "two"),
]

private let tools: [OrderedJSON] = [
    .object([
        ("name", .string("f")),
        ("parameters", .object([("a", .array([.integer(1), .number(2.5), .null, .bool(true)]))])),
    ])
]
