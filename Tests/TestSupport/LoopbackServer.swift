package import Foundation
import Synchronization

/// An HTTP server on this machine, for what sends requests: it keeps them and answers as the test says.
package final class LoopbackServer: Sendable {
    package struct Request: Sendable {
        package var method: String
        package var path: String
        /// By lower-case name.
        package var headers: [String: String]
        package var body: Data
    }

    /// What a request is answered with: a status, or nothing at all, so that whoever asks has to give up.
    package enum Answer: Sendable, Equatable {
        case status(Int)
        case silence
    }

    /// The port, which stays the same for ``init(port:_:)`` after ``stop()``.
    package let port: UInt16
    package var address: String { "http://127.0.0.1:\(port)" }

    private let listener: Int32
    private let kept = Mutex<[Request]>([])
    private let isOver = Mutex(false)
    private let answer: @Sendable (Int, Request) -> Answer

    /// Every request so far, in its order.
    package var requests: [Request] { kept.withLock { $0 } }

    /// Begins to listen.
    ///
    /// - Parameters:
    ///   - port: 0 takes any that is free.
    ///   - answer: Called with the number of the request, from 1, and the request.
    package init(port: UInt16 = 0, _ answer: @escaping @Sendable (Int, Request) -> Answer) throws {
        self.answer = answer
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0 else { throw POSIXError(.EIO) }
        var yes: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let isReady = withUnsafeMutablePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { place in
                bind(listener, place, length) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, place, &length) == 0
            }
        }
        guard isReady else {
            close(listener)
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
        self.port = UInt16(bigEndian: place.sin_port)
        Thread.detachNewThread { [self] in serveAll() }
    }

    /// Hears no more requests.
    package func stop() {
        let isFirst = isOver.withLock { over in
            defer { over = true }
            return !over
        }
        guard isFirst else { return }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func serveAll() {
        while true {
            let connection = accept(listener, nil, nil)
            if connection < 0 {
                if errno == EINTR { continue }
                break
            }
            _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
            Thread.detachNewThread { [self] in
                serve(connection)
                close(connection)
            }
        }
        close(listener)
    }

    private func serve(_ connection: Int32) {
        guard let request = Self.read(connection) else { return }
        let number = kept.withLock { kept in
            kept.append(request)
            return kept.count
        }
        switch answer(number, request) {
        case .silence:
            // Until the other side gives up.
            var byte: UInt8 = 0
            while recv(connection, &byte, 1, 0) > 0 {}
        case .status(let status):
            let text = "HTTP/1.1 \(status) As told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            _ = Array(text.utf8).withUnsafeBytes {
                send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
        }
    }

    /// Reads one request; `nil` when the other side has gone in the middle of it.
    private static func read(_ connection: Int32) -> Request? {
        var data = Data()
        func more() -> Bool {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = recv(connection, &buffer, buffer.count, 0)
            if count > 0 { data.append(contentsOf: buffer[..<count]) }
            return count > 0
        }
        let end = Data("\r\n\r\n".utf8)
        while data.range(of: end) == nil { guard more() else { return nil } }
        guard let range = data.range(of: end) else { return nil }
        let lines = String(decoding: data[..<range.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ").map(String.init)
        guard words.count == 3 else { return nil }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            if parts.count == 2 { headers[parts[0].lowercased()] = parts[1] }
        }
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        while data.count - range.upperBound < length { guard more() else { return nil } }
        let body = data[range.upperBound..<(range.upperBound + length)]
        return Request(method: words[0], path: words[1], headers: headers, body: Data(body))
    }
}
