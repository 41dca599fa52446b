package import Foundation
import Glibc

/// Where a value comes from.
package enum Origin: String, Codable, Sendable, CaseIterable {
    /// Written in the manifest.
    case manifest
    /// Written in the pipeline file.
    case pipeline
    /// Written in `lorajobs.yaml`.
    case workspace
    /// Written nowhere.
    case `default`
}

/// The settings of a workspace: `lorajobs.yaml`, completed by defaults.
package struct WorkspaceSettings: Sendable {
    /// What a queue allows.
    package struct Queue: Sendable, Equatable {
        /// Jobs that may run at once; at least 1.
        package var maxJobs = 1
        /// Points of priority for all of its jobs, -100…100.
        package var priority = 0
        /// Quiet hours of its own, in place of the workspace's; perhaps none.
        package var quiet: QuietHours?
        package init() {}
    }

    /// Whose folder of the inbox a tenant's is, and how much of the machine it is entitled to.
    package struct Tenant: Sendable, Equatable {
        /// Its part against that of the others; above 0.
        package var weight = 1.0
        /// Users who may drop manifests there, by name or number; empty leaves it to the folder's mode.
        package var owners: [String] = []
        package init() {}

        /// Whether a user may drop manifests for the tenant.
        package func admits(_ user: UInt32) -> Bool {
            if owners.isEmpty || user == 0 { return true }
            let name = getpwuid(user).flatMap { $0.pointee.pw_name }.map { String(cString: $0) }
            return owners.contains { $0 == "\(user)" || $0 == name }
        }
    }

    /// How files enter.
    package struct Inbox: Sendable, Equatable {
        /// How long a file must stay as it is before it counts as complete.
        package var settleSeconds = 2.0
        /// Whether a YAML manifest must end in a line `...` to count as complete.
        package var requireEndMarker = false
        /// The largest manifest that is read.
        package var maxBytes = 1 << 20
        package init() {}
    }

    /// What the report of a job may hold.
    package struct Report: Sendable, Equatable {
        /// Whether some of the training examples are in it.
        package var examples = false
        package init() {}
    }

    /// Who may read what the program writes.
    package enum Permissions: String, Sendable, CaseIterable {
        /// The owner alone: files 0600, folders 0700.
        case `private`
        /// Its group too: 0640 and 0750.
        case group
        /// Everybody: 0644 and 0755.
        case shared

        /// The rights that new files and folders do not get.
        package var mask: UInt32 {
            switch self {
            case .private: 0o077
            case .group: 0o027
            case .shared: 0o022
            }
        }
    }

    /// One value as `lorajobs config` prints it.
    package struct Setting: Sendable, Equatable {
        /// The dotted key.
        package var key: String
        package var value: JSONValue
        package var origin: Origin
    }

    /// Folders outside the workspace that manifests may name: absolute paths.
    package private(set) var roots: [String] = []
    /// By name; `default` always exists.
    package private(set) var queues: [String: Queue] = ["default": Queue()]
    package private(set) var inbox = Inbox()
    package private(set) var report = Report()
    package private(set) var permissions = Permissions.private
    /// When no job runs; a queue may have hours of its own.
    package private(set) var quiet: QuietHours?
    package private(set) var retention = RetentionPolicy()
    /// By name; others have the weight 1.
    package private(set) var tenants: [String: Tenant] = [:]
    /// Where notices go, by name; a folder's path is as it was written, which ``noticeTargets(in:)`` completes.
    package private(set) var notify: [String: NoticeTarget] = [:]
    /// Threads that the daemon's jobs may keep busy in all; `nil` is every core.
    package private(set) var threads: Int?
    /// Bytes that the daemon's jobs may use in all; `nil` is nine tenths of what the machine or the control group has.
    package private(set) var memoryBytes: Int?
    /// The values under `defaults:`.
    private(set) var defaults = ManifestLayer()
    private var written: Set<String> = []

    /// The settings of a workspace without a `lorajobs.yaml`.
    package init() {}

    /// Reads the settings of `workspace`; a missing file is all defaults.
    ///
    /// - Throws: ``InvalidFile`` with every finding.
    package init(of workspace: Workspace) throws {
        guard let data = FileManager.default.contents(atPath: workspace.settings.path(percentEncoded: false)) else {
            self.init()
            return
        }
        try self.init(data)
    }

    /// Reads the bytes of a `lorajobs.yaml`. A file of nothing but comments is all defaults.
    ///
    /// - Throws: ``InvalidFile`` with every finding.
    package init(_ data: Data) throws {
        let root: SourceNode
        do {
            root = try DocumentReader().read(data)
        } catch let error as InvalidFile where error.findings.first?.code == .empty {
            self.init()
            return
        }
        self.init()
        var parser = SettingsParser()
        parser.parse(root)
        if !parser.findings.isEmpty { throw InvalidFile(parser.findings) }
        roots = parser.roots
        queues.merge(parser.queues) { $1 }
        inbox = parser.inbox
        report = parser.report
        permissions = parser.permissions
        quiet = parser.quiet
        retention = parser.retention
        tenants = parser.tenants
        notify = parser.notify
        threads = parser.threads
        memoryBytes = parser.memoryBytes
        defaults = parser.defaults
        written = parser.written
    }

    /// The targets of notices, relative paths completed with the workspace's folder.
    package func noticeTargets(in workspace: Workspace) -> [String: NoticeTarget] {
        func absolute(_ secret: NoticeTarget.Secret?) -> NoticeTarget.Secret? {
            guard case .file(let path)? = secret else { return secret }
            return .file(FilePaths.absolute(path, in: workspace.root))
        }
        return notify.mapValues { target in
            var target = target
            target.token = absolute(target.token)
            target.signingKey = absolute(target.signingKey)
            switch target.place {
            case .folder(let path): target.place = .folder(FilePaths.absolute(path, in: workspace.root))
            case .webhook(.secret(let secret)): target.place = .webhook(address: .secret(absolute(secret) ?? secret))
            case .webhook(.text): break
            }
            return target
        }
    }

    /// Every value with its origin, sorted by key; the defaults of manifests that the settings change are last.
    package var all: [Setting] {
        func setting(_ key: String, _ value: JSONValue) -> Setting {
            Setting(key: key, value: value, origin: written.contains(key) ? .workspace : .default)
        }
        var settings = [
            setting("inbox.max_bytes", .string(Quantity.size(inbox.maxBytes))),
            setting("inbox.require_end_marker", .bool(inbox.requireEndMarker)),
            setting("inbox.settle", .string(Quantity.duration(inbox.settleSeconds))),
            setting("memory", .string(memoryBytes.map(Quantity.size) ?? "auto")),
        ]
        for (name, target) in notify.sorted(by: { $0.key < $1.key }) {
            settings.append(setting("notify.\(name).on", .array(target.events.map { .string($0.rawValue) })))
            settings.append(setting("notify.\(name).retries", .integer(target.retries)))
            if case .folder = target.place {
                settings.append(setting("notify.\(name).folder", .string(target.summary)))
            } else {
                settings.append(setting("notify.\(name).timeout", .string(Quantity.duration(target.timeoutSeconds))))
                settings.append(setting("notify.\(name).webhook", .string(target.summary)))
            }
        }
        settings.append(setting("permissions", .string(permissions.rawValue)))
        for (name, queue) in queues.sorted(by: { $0.key < $1.key }) {
            settings.append(setting("queues.\(name).max_jobs", .integer(queue.maxJobs)))
            settings.append(setting("queues.\(name).priority", .integer(queue.priority)))
            if let quiet = queue.quiet {
                settings.append(setting("queues.\(name).quiet", .array(quiet.texts.map { .string($0) })))
            }
        }
        settings.append(setting("quiet", .array((quiet?.texts ?? []).map { .string($0) })))
        settings.append(setting("report.examples", .bool(report.examples)))
        settings += [
            setting("retention.alias_history", .integer(retention.aliasHistory)),
            setting("retention.cache", .string(retention.cacheBytes.map(Quantity.size) ?? "unlimited")),
            setting("retention.grace", .string(Quantity.duration(retention.graceSeconds))),
            setting("retention.keep_daily", .integer(retention.keepDaily)),
            setting("retention.keep_last", .integer(retention.keepLast)),
            setting("retention.keep_monthly", .integer(retention.keepMonthly)),
            setting("retention.runs", .string(Quantity.duration(retention.runSeconds))),
            setting("retention.trash", .string(Quantity.duration(retention.trashSeconds))),
        ]
        settings.append(setting("roots", .array(roots.map { .string($0) })))
        for (name, tenant) in tenants.sorted(by: { $0.key < $1.key }) {
            settings.append(setting("tenants.\(name).owners", .array(tenant.owners.map { .string($0) })))
            settings.append(setting("tenants.\(name).weight", .number(tenant.weight)))
        }
        settings.append(setting("threads", threads.map { .integer($0) } ?? .string("auto")))
        for field in ManifestSchema.fields {
            if let entry = defaults.entries[field.path] {
                settings.append(Setting(key: "defaults.\(field.path)", value: entry.value, origin: .workspace))
            } else if let value = field.defaultValue {
                settings.append(Setting(key: "defaults.\(field.path)", value: value, origin: .default))
            }
        }
        return settings
    }

    /// The bytes of a `lorajobs.yaml` that lists `folder` under `roots:` too; the rest stays as it is.
    ///
    /// - Throws: ``SpecError`` when the file's layout leaves no safe place for the line.
    package static func adding(root folder: String, to data: Data?) throws -> Data {
        let path = JSONValue.string(folder).text()
        guard let data, let settings = try? WorkspaceSettings(data) else {
            if let data { _ = try WorkspaceSettings(data) }
            return Data("roots:\n  - \(path)\n".utf8)
        }
        if settings.roots.contains(folder) { return data }
        var lines = String(decoding: data, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            .map(String.init)
        if let index = lines.firstIndex(where: { $0.hasPrefix("roots:") }) {
            let rest = lines[index].dropFirst(6).trimmingCharacters(in: .whitespaces)
            if rest.hasPrefix("["), let close = lines[index].lastIndex(of: "]") {
                lines[index].insert(contentsOf: settings.roots.isEmpty ? path : ", \(path)", at: close)
            } else {
                let indent = lines.dropFirst(index + 1).first { $0.contains("-") }?.prefix { $0 == " " } ?? "  "
                lines.insert("\(indent)- \(path)", at: index + 1)
            }
        } else {
            if lines.last?.isEmpty == true { lines.removeLast() }
            lines += ["roots:", "  - \(path)", ""]
        }
        let result = Data(lines.joined(separator: "\n").utf8)
        guard let changed = try? WorkspaceSettings(result), changed.roots.contains(folder) else {
            throw SpecError(.format, "cannot add \(folder) to lorajobs.yaml; add it under roots: by hand")
        }
        return result
    }
}
