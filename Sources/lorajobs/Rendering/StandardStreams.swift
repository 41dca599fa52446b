import Foundation
import PipelineSpec
import Synchronization

/// Standard output: what a command was asked for, and nothing else.
enum StandardOutput {
    private static let closed = Atomic(false)

    /// Whether whoever read the output has gone.
    ///
    /// What never ends must look at this.
    static var isClosed: Bool { closed.load(ordering: .relaxed) }

    /// Writes at once.
    ///
    /// When nobody reads any more, the text goes nowhere and the command goes on: its exit code still counts.
    ///
    /// - Throws: ``CommandFailure`` when the text cannot be written, such as into a full disk.
    static func write(_ text: String) throws { try write(Data(text.utf8)) }

    static func write(_ data: Data) throws {
        guard !isClosed else { return }
        try data.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let count = Foundation.write(STDOUT_FILENO, bytes.baseAddress! + offset, bytes.count - offset)
                if count >= 0 {
                    offset += count
                } else if errno == EPIPE {
                    return closed.store(true, ordering: .relaxed)
                } else if errno != EINTR {
                    let reason = String(cString: strerror(errno))
                    throw CommandFailure(.ioError, "cannot write to standard output: \(reason)")
                }
            }
        }
    }

    /// Writes text and a line's end.
    static func line(_ text: String) throws { try write(text + "\n") }

    /// Writes the one object of `--json`, with its schema.
    static func json(_ members: [String: JSON]) throws {
        try line(JSON.object(members.merging(["schema": 1]) { $1 }).text())
    }
}

/// Standard error: what a command has to say to a person.
enum Talk {
    /// Says a line.
    ///
    /// That nobody hears it changes nothing.
    static func say(_ text: String) { write(text + "\n") }

    /// Says something that deserves a colour.
    static func warn(_ text: String) { say(Terminal.talk.paint("warning:", .yellow) + " \(text)") }

    static func write(_ text: String) {
        Data(text.utf8).withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let count = Foundation.write(STDERR_FILENO, bytes.baseAddress! + offset, bytes.count - offset)
                if count < 0 && errno != EINTR { return }
                offset += max(0, count)
            }
        }
    }
}

/// A line of standard error that is drawn over again; on anything but a terminal it is never drawn.
struct LiveLine {
    private var isDrawn = false

    mutating func draw(_ text: String) {
        guard Terminal.talk.isInteractive else { return }
        Talk.write("\r\u{1B}[K" + text)
        isDrawn = true
    }

    mutating func clear() {
        if isDrawn { Talk.write("\r\u{1B}[K") }
        isDrawn = false
    }
}
