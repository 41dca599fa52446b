import Foundation

/// What is known of the terminal, if there is one.
struct Terminal: Sendable {
    /// Whether somebody watches: a terminal that can move its cursor.
    let isInteractive: Bool
    /// Whether text may be coloured.
    let hasColor: Bool
    /// Columns; `nil` where lines may be as long as they like.
    let width: Int?

    /// The terminal behind a file descriptor.
    ///
    /// `NO_COLOR` (any value but the empty one) and `TERM=dumb` are honoured.
    init(_ descriptor: Int32, environment: [String: String] = ProcessInfo.processInfo.environment) {
        let isTerminal = isatty(descriptor) == 1
        let isDumb = environment["TERM"].map { $0.isEmpty || $0 == "dumb" } ?? true
        self.init(
            isInteractive: isTerminal && !isDumb,
            hasColor: isTerminal && !isDumb && (environment["NO_COLOR"] ?? "").isEmpty,
            width: isTerminal ? Self.columns(descriptor) : nil)
    }

    init(isInteractive: Bool, hasColor: Bool, width: Int?) {
        self.isInteractive = isInteractive
        self.hasColor = hasColor
        self.width = width
    }

    static let output = Terminal(STDOUT_FILENO)
    static let talk = Terminal(STDERR_FILENO)

    /// The colours of the states of jobs, and of what needs attention.
    enum Color: Int { case red = 31, green = 32, yellow = 33, cyan = 36, dim = 2, bold = 1 }

    /// `text` in a colour, where there are colours.
    func paint(_ text: String, _ color: Color?) -> String {
        guard hasColor, let color, !text.isEmpty else { return text }
        return "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m"
    }

    private static func columns(_ descriptor: Int32) -> Int {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }
}
