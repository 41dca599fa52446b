// lorajobs-inotify DIR...
//
// Prints "ready" once every folder is watched, then a line for each event: the mask as eight hexadecimal digits, a
// space, and the path, percent-encoded: the folder as it was given, a slash and the name (which is empty for the folder
// itself; the whole is for an overflow). Ends when its standard input does, so that it never outlives the program that
// reads it; when a folder is gone; or when it cannot print.
//
// The only program here that links libinotifytools.
import CInotifyTools
import Glibc

/// Writes everything or ends: a reader that is gone needs no more lines.
func emit(_ line: String) {
    var bytes = Array((line + "\n").utf8)[...]
    while !bytes.isEmpty {
        let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 { exit(1) }
        bytes = bytes.dropFirst(count)
    }
}

func complain(_ text: String) {
    let bytes = Array("lorajobs-inotify: \(text)\n".utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Letters, digits and `-._~` as they are; every other byte as `%XX`.
func percentEncoded(_ path: [UInt8]) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var out: [UInt8] = []
    for byte in path {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            out.append(byte)
        default: out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
    }
    return String(decoding: out, as: UTF8.self)
}

func hexadecimal(_ mask: UInt32) -> String {
    let text = String(mask, radix: 16)
    return String(repeating: "0", count: 8 - text.count) + text
}

/// Whether the other end of standard input is closed.
///
/// What arrives there is read and dropped.
func standardInputHasEnded() -> Bool {
    var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    guard poll(&descriptor, 1, 0) > 0 else { return false }
    if descriptor.revents & Int16(POLLIN) == 0 { return descriptor.revents & Int16(POLLHUP | POLLERR | POLLNVAL) != 0 }
    var buffer = [UInt8](repeating: 0, count: 256)
    return read(STDIN_FILENO, &buffer, buffer.count) == 0
}

let folders = CommandLine.arguments.dropFirst()
guard !folders.isEmpty else {
    complain("usage: lorajobs-inotify DIR...")
    exit(64)
}
_ = signal(SIGPIPE, SIG_IGN)
guard inotifytools_initialize() != 0 else {
    complain("cannot start watching: \(String(cString: strerror(inotifytools_error())))")
    exit(75)
}
let mask =
    UInt32(IN_CLOSE_WRITE) | UInt32(IN_MOVED_TO) | UInt32(IN_CREATE) | UInt32(IN_ATTRIB)
    | UInt32(IN_DELETE_SELF) | UInt32(IN_MOVE_SELF) | UInt32(IN_ONLYDIR)
for folder in folders {
    guard inotifytools_watch_file(folder, Int32(bitPattern: mask)) != 0 else {
        complain("cannot watch \(folder): \(String(cString: strerror(inotifytools_error())))")
        exit(66)
    }
}
emit("ready")

while !standardInputHasEnded() {
    // The time limit is in seconds.
    guard let event = inotifytools_next_event(1) else {
        let number = inotifytools_error()
        if number != 0 && number != EINTR {
            complain("cannot read events: \(String(cString: strerror(number)))")
            exit(74)
        }
        continue
    }
    let header = event.pointee
    // The name follows the header, padded with zero bytes.
    let start = UnsafeRawPointer(event) + MemoryLayout<inotify_event>.size
    let padded = UnsafeBufferPointer(start: start.assumingMemoryBound(to: UInt8.self), count: Int(header.len))
    let length = padded.firstIndex(of: 0) ?? padded.count
    // The library keeps folders with a slash at the end.
    let folder = inotifytools_filename_from_wd(header.wd).map {
        Array(UnsafeBufferPointer(start: $0, count: strlen($0)))
    }
    let path = (folder ?? []).map { UInt8(bitPattern: $0) } + padded[..<length]
    emit("\(hexadecimal(header.mask)) \(percentEncoded(path))")
    if header.mask & UInt32(IN_IGNORED | IN_UNMOUNT) != 0 { break }
}
inotifytools_cleanup()
