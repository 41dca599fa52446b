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
    products: [
        .executable(name: "lorajobs", targets: ["lorajobs"]),
        .executable(name: "lorajobs-inotify", targets: ["lorajobs-inotify"]),
        // For tests only: preloaded into the programs, never linked.
        .library(name: "PowerLossRecorder", type: .dynamic, targets: ["PowerLossRecorder"]),
    ],
    dependencies: [
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // 0: C
        .target(name: "CKernels", exclude: ["bodies"]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .systemLibrary(name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg62-turbo-dev"])]),
        .target(name: "CImages", dependencies: ["CPNG", "CJPEG"]),
        .target(name: "CLinux"),
        .systemLibrary(name: "CInotifyTools", providers: [.apt(["libinotifytools0-dev"])]),

        // 1: leaves
        .target(name: "TensorCore", dependencies: ["CKernels", "COpenBLAS"], swiftSettings: strict),
        .target(name: "Tokenizers", dependencies: ["CPCRE2"], swiftSettings: strict),
        .target(name: "Images", dependencies: ["CImages"], swiftSettings: strict),
        .target(
            name: "PipelineSpec",
            dependencies: [.product(name: "Yams", package: "Yams")],
            swiftSettings: strict),

        // 2
        .target(name: "Layers", dependencies: ["TensorCore"], swiftSettings: strict),
        .target(
            name: "Artifacts",
            dependencies: ["PipelineSpec", "CLinux", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict),

        // 3: peers; compute peers never import each other
        .target(name: "Models", dependencies: ["TensorCore", "Layers", "Images"], swiftSettings: strict),
        .target(name: "Adapters", dependencies: ["TensorCore", "Layers"], swiftSettings: strict),
        .target(name: "Training", dependencies: ["TensorCore", "Layers"], swiftSettings: strict),

        .target(
            name: "Orchestration",
            dependencies: [
                "PipelineSpec", "Artifacts", "CLinux",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: strict),

        // 4: the only library that joins both halves
        .target(
            name: "Stages",
            dependencies: [
                "TensorCore", "Layers", "Models", "Adapters", "Training", "Tokenizers", "Images", "PipelineSpec",
                "Artifacts", "CZlib", .product(name: "Crypto", package: "swift-crypto"),
            ],
            swiftSettings: strict),

        // 5
        .executableTarget(
            name: "lorajobs",
            dependencies: [
                "Stages", "Orchestration", "Artifacts", "PipelineSpec", "Tokenizers",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "lorajobs-inotify", dependencies: ["CInotifyTools"], swiftSettings: strict),

        // Tests
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(name: "PipelineSpecTests", dependencies: ["PipelineSpec", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ArtifactsTests", dependencies: ["Artifacts", "PipelineSpec", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "OrchestrationTests",
            dependencies: ["Orchestration", "Artifacts", "PipelineSpec", "CLinux", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "lorajobsTests",
            dependencies: [
                "lorajobs", "Orchestration", "Artifacts", "PipelineSpec", "TestSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "lorajobs", "lorajobs-inotify", "Orchestration", "Artifacts", "PipelineSpec", "TestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "NightTests",
            dependencies: [
                "Stages", "Orchestration", "Artifacts", "PipelineSpec", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .target(name: "PowerLossRecorder", path: "Tests/PowerLossRecorder", linkerSettings: [.linkedLibrary("dl")]),
        .executableTarget(
            name: "power-loss-subject", dependencies: ["Artifacts"], path: "Tests/PowerLossSubject",
            swiftSettings: strict),
        .testTarget(
            name: "PowerLossTests",
            dependencies: [
                "lorajobs", "power-loss-subject", "Stages", "Training", "Orchestration", "Artifacts", "PipelineSpec",
                "TestSupport",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .testTarget(name: "FloorTests", dependencies: ["TestSupport"], swiftSettings: strict),
        .testTarget(name: "ImagesTests", dependencies: ["Images", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "TokenizersTests", dependencies: ["Tokenizers", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "AdaptersTests", dependencies: ["Adapters", "Models", "Layers", "TensorCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "TrainingTests", dependencies: ["Training", "Models", "Layers", "TensorCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "StagesTests",
            dependencies: [
                "Stages", "Models", "Adapters", "Training", "Layers", "TensorCore", "Tokenizers", "Artifacts",
                "PipelineSpec", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ModelsTests", dependencies: ["Models", "Layers", "TensorCore", "Images", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "TensorCoreTests", dependencies: ["TensorCore", "CKernels", "TestSupport"], swiftSettings: strict),
    ]
)
