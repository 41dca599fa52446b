import Artifacts
import Foundation
import PipelineSpec
import TestSupport
import Testing

@testable import Orchestration

@Suite struct DaemonTests {
    @Test func jobRunsThroughAllStages() async throws {
        let test = try TestWorkspace()
        let id = try test.submit("name: tone\n")
        try await withDaemon(test.configuration()) { _ in
            try await eventually("job ends") {
                try FileManager.default.fileExists(atPath: test.workspace.database.path)
                    && (try? test.queue().list().first?.state.isFinal) == true
            }
        }
        let detail = try test.queue().show(id)
        #expect(detail.status.state == .succeeded)
        #expect(detail.status.reason == nil)
        #expect(detail.status.adapter == "tone:1")
        #expect(detail.stages.map(\.state) == [.succeeded, .succeeded, .skipped, .succeeded])
        #expect(test.started() == ["tokenize", "train", "package"])
        let version = try ArtifactStore(test.workspace.artifacts).versions(of: "tone")
        #expect(version.map(\.number) == [1])
    }
}
