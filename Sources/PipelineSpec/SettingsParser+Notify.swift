/// Reads `notify:` of `lorajobs.yaml`: targets by name.
extension SettingsParser {
    private static let targetKeys = [
        "webhook", "webhook_file", "webhook_env", "folder", "on", "token_file", "token_env", "secret_file",
        "secret_env", "timeout", "retries",
    ]
    private static let places = ["webhook", "webhook_file", "webhook_env", "folder"]
    private static let headers = ["token_file", "token_env", "secret_file", "secret_env"]

    mutating func parseNotify(_ node: SourceNode) -> [String: NoticeTarget] {
        var targets: [String: NoticeTarget] = [:]
        for entry in named(node, "notify") {
            if let target = parseTarget(entry) { targets[entry.key] = target }
        }
        return targets
    }

    private mutating func parseTarget(_ entry: SourceNode.Entry) -> NoticeTarget? {
        let section = "notify.\(entry.key)"
        let entries = mapping(entry.value, section)
        func refuse(_ message: String, _ inner: SourceNode.Entry? = nil, hint: String? = nil, _ code: Finding.Code) {
            values.findings.append(
                Finding(
                    code, at: (inner ?? entry).keyMark, pointer: (inner ?? entry).value.pointer,
                    "\(section): \(message)", hint: hint))
        }
        let places = entries.filter { Self.places.contains($0.key) }
        for other in places.dropFirst() {
            refuse(
                "\(other.key) and \(places[0].key) exclude each other", other, hint: "two targets do both", .conflict)
        }
        var target: NoticeTarget?
        for inner in entries where Self.places.contains(inner.key) {
            guard let text = text(inner, section) else { return nil }
            switch inner.key {
            case "webhook":
                if let problem = NoticeTarget.problem(withAddress: text) {
                    refuse("webhook: \(problem)", inner, .invalidValue)
                    return nil
                }
                target = NoticeTarget(.webhook(address: .text(text)))
            case "folder": target = NoticeTarget(.folder(text))
            default:
                guard let secret = secret(inner, text, section) else { return nil }
                target = NoticeTarget(.webhook(address: .secret(secret)))
            }
        }
        guard var target else {
            refuse("it has neither webhook nor folder", hint: "write webhook: https://… or folder: DIR", .missingKey)
            return nil
        }
        for inner in entries where !Self.places.contains(inner.key) {
            let key = "\(section).\(inner.key)"
            if Self.headers.contains(inner.key) || inner.key == "timeout", case .folder = target.place {
                refuse("\(inner.key) is for webhooks", inner, hint: "leave it out", .conflict)
                continue
            }
            switch inner.key {
            case "on":
                let words = NoticeEvent.allCases.map(\.rawValue)
                // None is fine: then only manifests ask for it.
                if inner.value.elements?.isEmpty == true {
                    target.events = []
                } else if case .array(let chosen)? = values.parse(inner.value, .list(of: words), key: key) {
                    target.events = chosen.compactMap { word in
                        if case .string(let text) = word { NoticeEvent(rawValue: text) } else { nil }
                    }
                }
            case "token_file", "token_env", "secret_file", "secret_env":
                guard let text = text(inner, section), let secret = secret(inner, text, section) else { continue }
                let isToken = inner.key.hasPrefix("token")
                if (isToken ? target.token : target.signingKey) != nil {
                    refuse("\(inner.key) and its other form exclude each other", inner, .conflict)
                } else if isToken {
                    target.token = secret
                } else {
                    target.signingKey = secret
                }
            case "timeout":
                guard case .string(let text)? = values.parse(inner.value, .duration(1...300), key: key),
                    let seconds = Quantity.seconds(text)
                else { continue }
                target.timeoutSeconds = seconds
            case "retries":
                guard case .integer(let count)? = values.parse(inner.value, .integer(0...100), key: key) else {
                    continue
                }
                target.retries = count
            default: unknown(inner, "\(section).", Self.targetKeys)
            }
        }
        for inner in entries where Self.targetKeys.contains(inner.key) { written.insert("\(section).\(inner.key)") }
        return target
    }

    private mutating func text(_ entry: SourceNode.Entry, _ section: String) -> String? {
        guard
            case .string(let text)? = values.parse(
                entry.value, .string(maximum: 4096), key: "\(section).\(entry.key)")
        else { return nil }
        return text
    }

    private mutating func secret(
        _ entry: SourceNode.Entry, _ text: String, _ section: String
    ) -> NoticeTarget.Secret? {
        if entry.key.hasSuffix("_file") { return .file(text) }
        guard text.wholeMatch(of: /[A-Za-z_][A-Za-z0-9_]*/) != nil else {
            values.findings.append(
                Finding(
                    .invalidValue, at: entry.value.mark, pointer: entry.value.pointer,
                    "\(section).\(entry.key): it names a variable of the daemon's environment, not a secret",
                    hint: "write \(entry.key): LORAJOBS_TOKEN and set that"))
            return nil
        }
        return .variable(text)
    }
}
