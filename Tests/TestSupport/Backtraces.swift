import Glibc

/// What the testing library does whenever an error is thrown.
package enum Backtraces {
    /// Takes that away, for the rest of the process.
    ///
    /// The library keeps a backtrace of every error, also of one that is caught at once, for as long as a test runs: in
    /// thousands of jobs that is more memory than all else, and it takes time. The runtime has no other way to take
    /// its hooks away.
    package static func keepNone() {
        for hook in ["_swift_willThrow", "_swift_willThrowTypedImpl"] {
            dlsym(nil, hook)?.storeBytes(of: 0, as: UInt.self)
        }
    }
}
