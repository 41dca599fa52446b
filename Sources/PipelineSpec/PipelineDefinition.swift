/// A pipeline: which stages run, after which others, and when.
package struct PipelineDefinition: Codable, Sendable, Equatable {
    /// One stage as the file writes it.
    package struct Stage: Codable, Sendable, Equatable {
        /// Unique within the pipeline.
        package var name: String
        /// The kind of stage: a ``StageDescriptor``'s.
        package var uses: String
        /// Names of the stages that must be done before.
        package var needs: [String] = []
        /// The manifest key that decides whether the stage runs, such as `merge`; `nil` runs always.
        package var when: String?
        /// How often a failure is tried again; `nil` leaves it to the manifest.
        package var retries: Int?
        /// Longest time of one try; `nil` leaves it to the manifest.
        package var timeoutSeconds: Double?

        package init(name: String, uses: String, needs: [String] = []) {
            self.name = name
            self.uses = uses
            self.needs = needs
        }

        /// Whether the stage runs for this job.
        package func runs(for manifest: JobManifest) -> Bool {
            guard let when else { return true }
            return ManifestSchema.value(of: when, in: manifest)?.isTruthy ?? false
        }
    }

    package var name: String
    /// In the order of the file.
    package var stages: [Stage]

    package init(name: String, stages: [Stage]) {
        self.name = name
        self.stages = stages
    }

    /// The stage of a name.
    package func stage(_ name: String) -> Stage? { stages.first { $0.name == name } }

    /// The stages so that each comes after all it needs; among equals the order of the file. Stages on a cycle
    /// are left out.
    package var topologicalOrder: [Stage] {
        var done: Set<String> = []
        var order: [Stage] = []
        var rest = stages
        while let index = rest.firstIndex(where: { $0.needs.allSatisfy(done.contains) }) {
            let stage = rest.remove(at: index)
            done.insert(stage.name)
            order.append(stage)
        }
        return order
    }

    /// The stages that `name` needs, and those they need, in topological order.
    package func transitiveNeeds(of name: String) -> [Stage] {
        var found: Set<String> = []
        var open = stage(name)?.needs ?? []
        while let next = open.popLast() {
            if found.insert(next).inserted { open += stage(next)?.needs ?? [] }
        }
        return topologicalOrder.filter { found.contains($0.name) && $0.name != name }
    }

    /// The stages that need `name`, directly or not.
    package func dependants(of name: String) -> [Stage] {
        topologicalOrder.filter { stage in transitiveNeeds(of: stage.name).contains { $0.name == name } }
    }
}
