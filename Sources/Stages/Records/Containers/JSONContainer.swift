import Foundation
import PipelineSpec
import Tokenizers

/// A JSON array of objects, or an object one of whose members is such an array.
///
/// It is never held whole: a scanner that knows strings and brackets finds where each object ends, and only the object
/// is parsed. The other members of an object around the list are passed over.
enum JSONContainer: RecordContainer {
    static let name = "JSON"

    static func recognises(fileExtension: String, start: Data) -> Bool {
        fileExtension == "json"
            || start.firstVisibleByte == UInt8(ascii: "{") && !PlainTextContainer.endings.contains(fileExtension)
    }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        var scanner = JSONElementScanner(file: file.path)
        try PinnedText(file: file).forEachBlock { try scanner.read($0, body) }
        try scanner.finish(body)
    }
}

/// Finds the objects of a list in JSON text that comes in blocks.
struct JSONElementScanner {
    /// Members of a record that are lists of objects, which is not what makes an object a list of records.
    private static let listsOfARecord: Set<String> = ["messages", "conversations", "conversation", "tools", "history"]

    private enum Shape {
        case unknown
        /// `[…]`.
        case list
        /// `{…}`, of which it is not known yet whether it is one record.
        case object
    }

    private let file: String
    private var shape = Shape.unknown
    private var depth = 0
    private var isInString = false
    private var isEscaped = false
    private var line = 1
    private var position: Int64 = 0
    /// The bytes of the element that is being read: an object of a list, or anything else in it.
    private var element: [UInt8] = []
    private var elementLine = 1
    /// The depth in which elements of the list stand; `nil` outside of a list.
    private var listDepth: Int?
    /// The last string read in the depth of an object's keys, and whether it is being read.
    private var key: [UInt8] = []
    private var isKey = false
    private var isMemberList = false
    private var hasFoundList = false
    /// Whether a list has just been opened that may be the records.
    private var isCandidate = false
    private var isComplete = false
    /// The whole object so far, in case it is one record; given up once it is a list's.
    private var whole: [UInt8]? = []

    init(file: String) { self.file = file }

    private func broken(_ what: String) -> StageError {
        StageError("bad_record", "\(file):\(line): not valid JSON: \(what)")
    }

    mutating func read(_ block: Data, _ body: (Result<RawRecord, BadRecord>) throws -> Void) throws {
        for byte in block {
            position += 1
            try read(byte, body)
            if byte == UInt8(ascii: "\n") { line += 1 }
            guard element.count <= LineReader.longestLine, whole?.count ?? 0 <= LineReader.longestLine else {
                throw StageError(
                    "bad_record",
                    "\(file):\(elementLine): a record of more than \(LineReader.longestLine >> 20) MiB")
            }
        }
    }

    private mutating func read(_ byte: UInt8, _ body: (Result<RawRecord, BadRecord>) throws -> Void) throws {
        if position <= 3, [0xEF, 0xBB, 0xBF].contains(byte) { return }
        if whole != nil, shape == .object { whole?.append(byte) }
        if isInString {
            if let listDepth, depth >= listDepth { element.append(byte) }
            if isKey, isEscaped || byte != UInt8(ascii: "\"") { key.append(byte) }
            if isEscaped {
                isEscaped = false
            } else if byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isInString = false
                isKey = false
            }
            return
        }
        guard !isComplete || byte.isJSONSpace else { throw broken("unexpected text after the end of the JSON value") }
        if !byte.isJSONSpace, byte != UInt8(ascii: "{") { isCandidate = false }
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["): try open(byte)
        case UInt8(ascii: "}"), UInt8(ascii: "]"): try close(byte, body)
        case UInt8(ascii: ","):
            if depth == listDepth {
                try finishElement(body)
            } else if listDepth != nil {
                element.append(byte)
            }
            if shape == .object, depth == 1 { isMemberList = false }
        case UInt8(ascii: "\""):
            try beginElementIfNeeded(byte)
            isInString = true
            if shape == .object, depth == 1, listDepth == nil, !isMemberList {
                isKey = true
                key.removeAll()
            }
        case UInt8(ascii: ":"):
            if shape == .object, depth == 1 { isMemberList = true }
            if listDepth != nil { element.append(byte) }
        case _ where byte.isJSONSpace: if !element.isEmpty { element.append(byte) }
        default: try beginElementIfNeeded(byte)
        }
    }

    /// Notes a byte that belongs to an element, or begins one.
    private mutating func beginElementIfNeeded(_ byte: UInt8) throws {
        guard shape != .unknown else { throw broken("expected a list or an object") }
        guard listDepth != nil else { return }
        if element.isEmpty { elementLine = line }
        element.append(byte)
    }

    private mutating func open(_ byte: UInt8) throws {
        if shape == .unknown {
            elementLine = line
            shape = byte == UInt8(ascii: "[") ? .list : .object
            depth = 1
            if shape == .list {
                listDepth = 1
                hasFoundList = true
                whole = nil
            } else {
                whole = [byte]
            }
            return
        }
        if listDepth == nil, shape == .object, depth == 2, byte == UInt8(ascii: "{"), isCandidate {
            // The first thing in the list that is a member's value is an object: these are the records.
            listDepth = 2
            hasFoundList = true
            whole = nil
        }
        if listDepth != nil { try beginElementIfNeeded(byte) }
        depth += 1
        isCandidate =
            listDepth == nil && shape == .object && depth == 2 && byte == UInt8(ascii: "[")
            && !Self.listsOfARecord.contains(String(decoding: key, as: UTF8.self))
        if depth > 512 { throw broken("nested more than 512 deep") }
    }

    private mutating func close(_ byte: UInt8, _ body: (Result<RawRecord, BadRecord>) throws -> Void) throws {
        guard depth > 0 else { throw broken("unexpected '\(Character(Unicode.Scalar(byte)))'") }
        if depth == listDepth {
            guard byte == UInt8(ascii: "]") else { throw broken("expected ',' or ']'") }
            try finishElement(body)
            listDepth = nil
            isCandidate = false
        } else if listDepth != nil {
            element.append(byte)
        }
        depth -= 1
        if depth == 0 { isComplete = true }
    }

    private mutating func finishElement(_ body: (Result<RawRecord, BadRecord>) throws -> Void) throws {
        guard !element.isEmpty else { return }
        defer { element.removeAll(keepingCapacity: true) }
        try body(JSONObjects.record(Data(element), RecordPlace(file: file, line: elementLine), position))
    }

    /// Says that the text ends here.
    mutating func finish(_ body: (Result<RawRecord, BadRecord>) throws -> Void) throws {
        guard shape != .unknown else { return }
        guard isComplete else { throw broken("the text ends in the middle; was the file cut off?") }
        guard !hasFoundList, let whole else { return }
        try body(JSONObjects.record(Data(whole), RecordPlace(file: file, line: elementLine), position))
    }
}
