/// What one check of a workspace came to.
package struct Diagnosis: Sendable, Equatable {
    package enum Verdict: String, Sendable {
        case ok
        /// Works, and deserves a look.
        case warning
        /// Does not work as it should.
        case problem
    }

    /// What a problem is about, and thereby who puts it right.
    package enum Kind: Sendable {
        /// Settings, files that people write, the machine.
        case configuration
        /// The queue, the store, the files of jobs.
        case data
    }

    /// Stable: `settings`, `folders`, `database.integrity`, `I4`.
    package let code: String
    package let verdict: Verdict
    package let kind: Kind
    /// A sentence: what is there.
    package let message: String
    /// What to do; `nil` when there is nothing to do.
    package let advice: String?

    /// A check that a caller makes itself, because it knows what this floor cannot.
    package static func ok(_ code: String, _ message: String) -> Diagnosis {
        Diagnosis(code: code, verdict: .ok, kind: .configuration, message: message, advice: nil)
    }
}
