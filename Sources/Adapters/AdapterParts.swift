import Layers
import TensorCore

/// Everything that an adapter of certain settings consists of on a model, before it is put there.
struct AdapterParts {
    let match: TargetModules.Match
    let modules: [AttachedAdapter.Module]
    let embeddings: [AttachedAdapter.EmbeddingModule]
    let saved: [SavedModule]
    /// Matrices of the base that a folder may hold besides.
    let bases: [StoredBase]
    /// What a folder must hold; the name of each is its PEFT key.
    let stored: [Parameter]

    init(
        _ method: any AdapterMethod, _ targets: TargetModules, saving names: [String],
        on model: any AdaptableModel, dialect: NameDialect, random: RandomStream
    ) throws {
        match = try targets.match(in: model, saving: names, dialect: dialect)
        modules = try method.modules(for: match, random: random)
        let tables = try method.embeddingAdaptations(for: match.embeddings, random: random)
        precondition(tables.count == match.embeddings.count, "\(method): one adaptation for each embedding")
        embeddings = zip(match.embeddings, tables).map {
            AttachedAdapter.EmbeddingModule(embedding: $0, adaptation: $1)
        }
        saved = try SavedModule.modules(names, in: model)
        let head = model.heads.last
        let input = model.embeddings.first
        bases =
            targets.nameEmbeddingLayers(match)
            ? match.embeddings.filter { $0 === input }.map { StoredBase($0) }
                + match.projections.filter { $0 === head }.map { StoredBase($0) }
            : []
        stored =
            method.storedParameters(of: modules.map(\.adaptation)) + tables.flatMap(\.parameters)
            + saved.flatMap(\.parameters)
    }

    /// What training changes.
    var trained: [Parameter] {
        let all = modules.flatMap(\.adaptation.parameters) + embeddings.flatMap(\.adaptation.parameters)
        return all.withoutRepetitions.filter(\.isTrainable) + saved.flatMap(\.parameters)
    }
}
