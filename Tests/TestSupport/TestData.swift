package import Foundation

/// Test input that is too large, or not ours, to live in the repository.
///
/// It is looked for under `LORAJOBS_TEST_DATA`, by default `../shared/data` beside the package. A test whose data is
/// absent says so on standard error and returns; with `LORAJOBS_REQUIRE_DATA=1` absence is a failure instead.
package enum TestData {
    /// Why a test could not get its input.
    package struct Missing: Error, CustomStringConvertible {
        package let description: String
    }

    /// The root of the package under test.
    package static let packageRoot = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The root of the test data.
    package static var root: URL {
        let environment = ProcessInfo.processInfo.environment
        guard let path = environment["LORAJOBS_TEST_DATA"], !path.isEmpty else {
            return packageRoot.deletingLastPathComponent().appending(path: "shared/data")
        }
        return URL(filePath: path, relativeTo: packageRoot).absoluteURL
    }

    /// The file or folder `path` below ``root``, or `nil` after saying loudly that the test is skipped.
    ///
    /// - Throws: ``Missing`` when it is not there and `LORAJOBS_REQUIRE_DATA=1`.
    package static func folder(_ path: String, test: String = #function) throws -> URL? {
        let url = root.appending(path: path)
        if FileManager.default.fileExists(atPath: url.path) { return url }
        let message = "\(test): test data \(url.path) is not there; set LORAJOBS_TEST_DATA to the folder that holds it"
        if ProcessInfo.processInfo.environment["LORAJOBS_REQUIRE_DATA"] == "1" { throw Missing(description: message) }
        FileHandle.standardError.write(Data("*** SKIPPED *** \(message)\n".utf8))
        return nil
    }
}

/// Small inputs made for this project, kept under `Tests/Fixtures`.
package enum Fixtures {
    /// The file or folder `path` below `Tests/Fixtures`.
    package static func folder(_ path: String) throws -> URL {
        let url = TestData.packageRoot.appending(path: "Tests/Fixtures").appending(path: path)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw TestData.Missing(description: "the fixture \(url.path) is missing from the repository")
        }
        return url
    }
}

/// A folder that lives as long as this object.
package final class TemporaryFolder: Sendable {
    package let url: URL

    /// - Parameter place: where it is made; in the usual place for temporary files unless given.
    package init(in place: URL = FileManager.default.temporaryDirectory) throws {
        url = place.appending(path: "lorajobs-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }
}
