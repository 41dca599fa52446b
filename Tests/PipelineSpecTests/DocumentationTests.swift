import Foundation
import TestSupport
import Testing

@testable import PipelineSpec

/// Holds `Manifest.md` to the schema: a page that lists keys is wrong as soon as it forgets one.
@Suite struct DocumentationTests {
    /// The entries of the page by key, each on one line.
    private func entries() throws -> [String: String] {
        let page = TestData.packageRoot.appending(path: "Sources/lorajobs/LoraJobs.docc/Manifest.md")
        let text = try String(contentsOf: page, encoding: .utf8).replacing("\n  ", with: " ")
        let keyed = text.split(separator: "\n").compactMap { line in
            line.wholeMatch(of: /- `([a-z_.]+)`: (.*)/).map { (String($0.1), String($0.2)) }
        }
        return Dictionary(keyed) { "\($0) \($1)" }
    }

    @Test func everyKeyOfTheManifestIsDescribed() throws {
        let entries = try entries()
        let schedule = ScheduleDefinition.members.map { "schedule.\($0.key)" }
        #expect(Set(entries.keys) == Set(ManifestSchema.fields.map(\.path) + schedule))
        for field in ManifestSchema.fields {
            // One of the sentences begins with its default.
            let entry = (entries[field.path] ?? "").replacing("Default `", with: "default `")
            if let value = field.defaultValue {
                #expect(entry.contains("default `\(value.text())`"), "\(field.path): \(entry)")
            } else {
                #expect(entry.contains(field.isRequired ? "required" : "no default"), "\(field.path): \(entry)")
            }
        }
    }

    @Test func everyKeyOfAScheduleIsDescribed() throws {
        let entries = try entries()
        for member in ScheduleDefinition.members {
            let entry = (entries["schedule.\(member.key)"] ?? "").replacing("Default `", with: "default `")
            #expect(entry.hasPrefix(member.documentation), "\(member.key): \(entry)")
            let value = member.key == "cron" ? "required" : "default `\(member.defaultValue.text())`"
            #expect(entry.contains(value), "\(member.key): \(entry)")
        }
    }
}
