/// What goes wrong in a template: while it is parsed, or while it renders.
///
/// It becomes a ``TokenizerError`` at the door, with the file that holds the template.
struct JinjaFailure: Error {
    let code: TokenizerError.Code
    let message: String
    /// The line of the template; `nil` until a node that knows its line sees the failure pass.
    var line: Int?

    init(_ code: TokenizerError.Code, line: Int? = nil, _ message: String) {
        self.code = code
        self.message = message
        self.line = line
    }

    /// What Python calls a TypeError, ValueError and the like.
    static func invalid(_ message: String) -> JinjaFailure { JinjaFailure(.templateFailed, message) }

    /// Something Jinja has and this renderer does not.
    static func unsupported(_ message: String, line: Int? = nil) -> JinjaFailure {
        JinjaFailure(.unsupported, line: line, message)
    }

    /// The failure, now that its line is known.
    func at(_ line: Int) -> JinjaFailure {
        var copy = self
        copy.line = copy.line ?? line
        return copy
    }

    /// The failure as the module shows it.
    func error(in file: String?) -> TokenizerError {
        let place = line.map { "chat template, line \($0): " } ?? "chat template: "
        return TokenizerError(code, file: file, place + message)
    }
}
