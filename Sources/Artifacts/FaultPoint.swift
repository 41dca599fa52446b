/// The steps of the store's writes, in order.
///
/// Tests stop the program after each of them; nothing else uses this.
enum FaultPoint: String, CaseIterable, Sendable {
    case blobWritten, blobLinked, blobsFlushed
    case versionAssembled, versionFlushed, versionRenamed, versionSealed, versionLogged
    case aliasMade, aliasRenamed, aliasLogged
    case entryAssembled, entryFlushed, entryRenamed

    static let publishing: [FaultPoint] = [
        .blobWritten, .blobLinked, .blobsFlushed, .versionAssembled, .versionFlushed, .versionRenamed, .versionSealed,
        .versionLogged,
    ]
    static let aliasing: [FaultPoint] = [.aliasMade, .aliasRenamed, .aliasLogged]
    static let caching: [FaultPoint] = [.entryAssembled, .entryFlushed, .entryRenamed]
}

/// Called after each step; throws, or ends the process, where a test wants that.
typealias FaultInjection = @Sendable (FaultPoint) throws -> Void
