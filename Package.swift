// swift-tools-version: 6.2
import PackageDescription

/// The language settings of every Swift target: Swift 6 mode, and imports that say what they mean.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// A target sees only the targets named here. The order is the order of the floors in Architecture.md,
// from the ground up; `FloorTests` compares the imports of every file with the same table.
let package = Package(
    name: "lorajobs",
    dependencies: [
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    ],
    targets: [
        // 0: C
        .target(name: "CKernels", exclude: ["bodies"]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .target(name: "CSystem"),
        .systemLibrary(name: "CInotifyTools", providers: [.apt(["libinotifytools0-dev"])]),

        // 1: leaves
        .target(name: "TensorCore", dependencies: ["CKernels", "COpenBLAS"], swiftSettings: strict),
        .target(name: "Tokenizers", dependencies: ["CPCRE2"], swiftSettings: strict),
        .target(
            name: "PipelineSpec",
            dependencies: [.product(name: "Yams", package: "Yams")],
            swiftSettings: strict),

        // 2
        .target(name: "Layers", dependencies: ["TensorCore"], swiftSettings: strict),
        .target(
            name: "Artifacts",
            dependencies: ["PipelineSpec", "CSystem", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict),

        // 3: peers; compute peers never import each other
        .target(name: "Models", dependencies: ["TensorCore", "Layers"], swiftSettings: strict),
        .target(name: "Adapters", dependencies: ["TensorCore", "Layers"], swiftSettings: strict),
        .target(name: "Training", dependencies: ["TensorCore", "Layers"], swiftSettings: strict),

        // 4: the only library that joins both halves
        .target(
            name: "Stages",
            dependencies: [
                "TensorCore", "Layers", "Models", "Adapters", "Training", "Tokenizers", "PipelineSpec", "Artifacts",
                .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: strict),

        // Tests
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(name: "PipelineSpecTests", dependencies: ["PipelineSpec", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ArtifactsTests", dependencies: ["Artifacts", "PipelineSpec", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "AdaptersTests", dependencies: ["Adapters", "Models", "Layers", "TensorCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "TrainingTests", dependencies: ["Training", "Models", "Layers", "TensorCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "StagesTests", dependencies: ["Stages", "Artifacts", "PipelineSpec", "TensorCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "ModelsTests", dependencies: ["Models", "Layers", "TensorCore", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "TensorCoreTests", dependencies: ["TensorCore", "TestSupport"], swiftSettings: strict),
    ]
)
