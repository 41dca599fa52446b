/// What this program calls itself.
package enum Program {
    package static let version = "0.1.0"

    /// Name and version, as `--version` prints them and as a version's lineage names what made it.
    package static let description = "lorajobs \(version)"
}
