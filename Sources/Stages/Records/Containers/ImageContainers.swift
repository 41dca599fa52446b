import Foundation
import PipelineSpec
import Tokenizers

/// A PNG or JPEG file: one record, whose label is the name of the folder it lies in.
enum ImageContainer: RecordContainer {
    static let name = "a folder for each class"

    static func recognises(fileExtension: String, start: Data) -> Bool {
        start.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) || start.starts(with: [0xFF, 0xD8, 0xFF])
    }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        // The bytes are read, and proved to be those that were pinned, when the pixels are wanted.
        let folder = URL(filePath: file.path).deletingLastPathComponent().lastPathComponent
        let fields: [(key: String, value: OrderedJSON)] = [("image", .string(file.path)), ("label", .string(folder))]
        try body(
            .success(RawRecord(fields: fields, place: RecordPlace(file: file.path, line: 1), end: file.length)))
    }
}

/// A file of images or labels in the IDX format of MNIST. A file of images is read together with its labels, which lie
/// beside it under the same name with `labels-idx1` in the place of `images-idx3`, and are read by way of the images.
enum IDXContainer: RecordContainer {
    static let name = "IDX"

    static func recognises(fileExtension: String, start: Data) -> Bool {
        // Two zeros, unsigned bytes, three dimensions or one.
        start.starts(with: [0, 0, 8, 3]) || start.starts(with: [0, 0, 8, 1])
    }

    static func forEachRecord(
        in file: PinnedFile, passageBytes: Int, _ body: (Result<RawRecord, BadRecord>) throws -> Void
    ) throws {
        var images = IDXReader(file: file.path)
        var index = 0
        guard try IDXReader.dimensions(of: file) == 3 else {
            // Labels by themselves are no records.
            return try PinnedText(file: file).forEachBlock { _ in }
        }
        let labels = try labels(of: file)
        try PinnedText(file: file).forEachBlock { block in
            try images.read(block) { bytes, shape, end in
                defer { index += 1 }
                guard index < labels.count else {
                    throw StageError(
                        "bad_record",
                        "\(file.path): image \(index + 1) has no label; there are only \(labels.count) labels")
                }
                let pixels = Data(bytes).base64EncodedString()
                let fields: [(key: String, value: OrderedJSON)] = [
                    ("image", .string(pixels)), ("height", .integer(shape[0])), ("width", .integer(shape[1])),
                    ("label", .integer(Int(labels[index]))),
                ]
                let place = RecordPlace(file: file.path, line: index + 1)
                try body(.success(RawRecord(fields: fields, place: place, end: end)))
            }
        }
        guard index == labels.count else {
            throw StageError("bad_record", "\(file.path): \(index) images, but \(labels.count) labels")
        }
        try images.finish()
    }

    /// Whether a file is one of IDX images.
    static func isFileOfImages(_ file: PinnedFile) throws -> Bool {
        let start = try PinnedText(file: file).start(4)
        return start.count == 4 && recognises(fileExtension: "", start: start) && start.last == 3
    }

    /// Where the labels of a file of images are to be; `nil` for a name that does not say.
    static func labelsFile(of file: PinnedFile) -> URL? {
        let url = URL(filePath: file.path)
        let name = url.lastPathComponent.replacing("images-idx3", with: "labels-idx1").replacing(
            "images.idx3", with: "labels.idx1")
        return name == url.lastPathComponent ? nil : url.deletingLastPathComponent().appending(path: name)
    }

    private static func labels(of file: PinnedFile) throws -> [UInt8] {
        guard let partner = labelsFile(of: file), FileManager.default.fileExists(atPath: partner.path) else {
            throw StageError(
                "bad_record",
                "\(file.path): its labels are expected beside it as …labels-idx1-ubyte, and there is no such file")
        }
        let pinned = try PinnedFile.reading(partner)
        var reader = IDXReader(file: partner.path)
        var labels: [UInt8] = []
        try PinnedText(file: pinned).forEachBlock { block in
            try reader.read(block) { bytes, _, _ in labels.append(contentsOf: bytes) }
        }
        try reader.finish()
        return labels
    }
}

/// Reads the elements of an IDX file of bytes as it comes.
struct IDXReader {
    private let file: String
    private var header: [UInt8] = []
    private var shape: [Int] = []
    private var element: [UInt8] = []
    private var elementSize = 0
    private var count = 0
    private var read = 0
    private var position: Int64 = 0

    init(file: String) { self.file = file }

    /// How many dimensions a file has.
    static func dimensions(of file: PinnedFile) throws -> Int { Int(try PinnedText(file: file).start(4).last ?? 0) }

    private func broken(_ what: String) -> StageError { StageError("bad_record", "\(file): broken IDX file: \(what)") }

    mutating func read(_ block: Data, _ body: ([UInt8], _ shape: [Int], _ end: Int64) throws -> Void) throws {
        for byte in block {
            position += 1
            if elementSize == 0 {
                header.append(byte)
                try readHeader()
                continue
            }
            guard read < count else { throw broken("more bytes than its \(count) elements have") }
            element.append(byte)
            if element.count == elementSize {
                try body(element, Array(shape.dropFirst()), position)
                element.removeAll(keepingCapacity: true)
                read += 1
            }
        }
    }

    private mutating func readHeader() throws {
        guard header.count >= 4, header.count == 4 + 4 * Int(header[3]) else { return }
        shape = (0..<Int(header[3])).map { axis in
            header[(4 + 4 * axis)..<(8 + 4 * axis)].reduce(0) { $0 << 8 | Int($1) }
        }
        count = shape.first ?? 0
        elementSize = 1
        for size in shape.dropFirst() {
            guard size > 0, size <= 1 << 14, elementSize <= 1 << 24 else { throw broken("its sizes are \(shape)") }
            elementSize *= size
        }
    }

    /// Says that the file ends here.
    func finish() throws {
        guard elementSize > 0, read == count, element.isEmpty else {
            throw broken("it ends after \(read) of \(count) elements")
        }
    }
}
