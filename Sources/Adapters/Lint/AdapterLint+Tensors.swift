import Layers
import TensorCore

extension AdapterLint {
    /// What a tensor is to its module.
    private enum Part: String, CaseIterable {
        case a = ".lora_A.weight"
        case b = ".lora_B.weight"
        case embeddingA = ".lora_embedding_A"
        case embeddingB = ".lora_embedding_B"
        case base = ".base_layer.weight"

        /// The other half of the pair.
        var partner: Part? {
            switch self {
            case .a: .b
            case .b: .a
            case .embeddingA: .embeddingB
            case .embeddingB: .embeddingA
            case .base: nil
            }
        }
    }

    /// Ends of names of things that are known and not built.
    private static let unbuilt = [
        ".lora_magnitude_vector": "DoRA's magnitudes", ".lora_magnitude_vector.weight": "DoRA's magnitudes",
        ".lora_B.bias": "a bias of lora_B", ".base_layer.bias": "trained biases of the base", ".lora_E": "AdaLoRA",
        ".vera_lambda_b": "VeRA", ".vera_lambda_d": "VeRA", ".trainable_tokens_delta": "trained rows of the embedding",
    ]

    /// What beginnings and ends tell of names that are not PEFT's.
    private static let foreignNames: [(mark: String, program: String)] = [
        ("lora_unet_", "kohya's scripts"), ("lora_te", "kohya's scripts"), ("unet.", "diffusers"),
        ("text_encoder.", "diffusers"), (".lora.down.weight", "diffusers"), (".lora_a", "mlx-lm"),
        (".lora_A.default.weight", "PEFT in memory, with the adapter's name in it"),
    ]

    /// Looks through the tensors: names, pairs, ranks, types and values.
    ///
    /// - Parameter guessesLayers: whether a layer without a module that others have is a fault; without the base's own
    ///   list of modules, it nearly always is.
    mutating func lintTensors(
        _ file: SafetensorsFile, _ configuration: PEFTConfiguration?, guessesLayers: Bool
    ) {
        var modules: [String: [Part: WeightEntry]] = [:]
        var foreign: [String] = []
        var hasValues = false
        for name in file.names {
            guard let entry = try? file.entry(name) else { continue }
            lintValues(of: name, entry, in: file)
            guard name.hasPrefix(PEFTFolder.keyPrefix) else {
                foreign.append(name)
                continue
            }
            let path = String(name.dropFirst(PEFTFolder.keyPrefix.count))
            if let part = Part.allCases.first(where: { path.hasSuffix($0.rawValue) }) {
                modules[String(path.dropLast(part.rawValue.count)), default: [:]][part] = entry
                if part == .b || part == .embeddingA, !hasValues { hasValues = Self.hasValues(name, in: file) }
            } else if let what = Self.unbuilt.first(where: { path.hasSuffix($0.key) })?.value {
                fail(.unsupported, in: Self.weightsName, at: name, "\(name) is of \(what), which is not supported")
            } else if let configuration, !SavedModule.isSaved(Self.module(of: path), configuration.modulesToSave) {
                fail(
                    .unexpectedTensor, in: Self.weightsName, at: name,
                    "\(name) is no part of a low-rank pair, and modules_to_save does not name its module")
            }
        }
        lintPrefix(foreign, of: file.names.count)
        guard !modules.isEmpty else {
            if foreign.isEmpty { fail(.missingTensor, in: Self.weightsName, "there is no low-rank pair in the file") }
            return
        }
        if !hasValues {
            warn(
                .untrained, in: Self.weightsName,
                "one half of every pair is 0: the adapter changes nothing", "save it after the training")
        }
        lintPairs(modules, configuration)
        if let configuration { lintTargets(Array(modules.keys), configuration) }
        if guessesLayers { lintLayers(Array(modules.keys), configuration) }
        lintDialect(Array(modules.keys))
    }

    /// The path of the module that a tensor belongs to.
    private static func module(of path: String) -> String {
        path.split(separator: ".").dropLast().joined(separator: ".")
    }

    // MARK: Each tensor

    private mutating func lintValues(of name: String, _ entry: WeightEntry, in file: SafetensorsFile) {
        guard entry.dtype.isFloatingPoint else {
            fail(
                .dtype, in: Self.weightsName, at: name, "\(name) holds \(entry.dtype), not real numbers",
                "save the adapter without quantisation")
            return
        }
        if entry.dtype == .float64 {
            warn(.dtype, in: Self.weightsName, at: name, "\(name) is F64 and will be rounded to F32")
        }
        guard let values = try? file.floats(of: name) else { return }
        let count = values.count { !$0.isFinite }
        if count > 0 {
            fail(
                .nonFinite, in: Self.weightsName, at: name,
                "\(name): \(count) of \(values.count) values are infinite or not a number",
                "the training has diverged; take an earlier checkpoint")
        }
    }

    private static func hasValues(_ name: String, in file: SafetensorsFile) -> Bool {
        (try? file.floats(of: name))?.contains { $0 != 0 } ?? false
    }

    private mutating func lintPrefix(_ foreign: [String], of count: Int) {
        guard let first = foreign.first else { return }
        let known = Self.foreignNames.first { known in foreign.contains { $0.contains(known.mark) } }
        let others = foreign.count == 1 ? "" : " and \(foreign.count - 1) more"
        fail(
            .wrongPrefix, in: Self.weightsName, at: first,
            "\(first)\(others) of \(count) tensors do not begin with \(PEFTFolder.keyPrefix): PEFT would pass over them"
                + (known.map { "; such names are those of \($0.program)" } ?? ""),
            "name each \(PEFTFolder.keyPrefix)<path of the module>.lora_A.weight, and .lora_B.weight")
    }

    // MARK: Pairs

    private mutating func lintPairs(_ modules: [String: [Part: WeightEntry]], _ configuration: PEFTConfiguration?) {
        let lora = configuration?.method as? LoRA
        for (path, parts) in modules.sorted(by: { $0.key < $1.key }) {
            for part in Part.allCases where parts[part] != nil {
                guard let partner = part.partner, parts[partner] == nil else { continue }
                fail(
                    .missingTensor, in: Self.weightsName, at: PEFTFolder.keyPrefix + path + partner.rawValue,
                    "\(path) has \(part.rawValue.dropFirst()) and no \(partner.rawValue.dropFirst())")
            }
            for (a, b) in [(Part.a, Part.b), (.embeddingA, .embeddingB)] {
                guard let first = parts[a], let second = parts[b] else { continue }
                lintRank(path, a, first, second, lora)
            }
        }
    }

    private mutating func lintRank(_ path: String, _ part: Part, _ a: WeightEntry, _ b: WeightEntry, _ lora: LoRA?) {
        let name = PEFTFolder.keyPrefix + path + part.rawValue
        guard a.shape.count == 2, b.shape.count == 2 else {
            if a.shape.count == 4 {
                fail(.unsupported, in: Self.weightsName, at: name, "\(path) is a convolution, which is not supported")
            } else {
                fail(
                    .shape, in: Self.weightsName, at: name,
                    "\(path): shapes \(a.shape) and \(b.shape); both must be matrices")
            }
            return
        }
        guard a.shape[0] == b.shape[1] else {
            fail(
                .rankMismatch, in: Self.weightsName, at: name,
                "\(path): A \(a.shape) has rank \(a.shape[0]), B \(b.shape) has rank \(b.shape[1])",
                a.shape[1] == b.shape[0] ? "they are transposed, as mlx-lm has them" : nil)
            return
        }
        guard let lora, !path.contains(".experts"), let pattern = try? lora.rankPattern.value(for: path) ?? lora.rank,
            pattern != a.shape[0]
        else { return }
        fail(
            .rankMismatch, in: Self.weightsName, at: name,
            "\(path) has rank \(a.shape[0]); \(PEFTFolder.configurationName) gives it \(pattern)",
            "set r, or name the module in rank_pattern")
    }

    // MARK: The configuration's patterns

    private mutating func lintTargets(_ paths: [String], _ configuration: PEFTConfiguration) {
        let file = PEFTFolder.configurationName
        if case .names(.list(let names)) = configuration.targets.selection {
            // PEFT leaves names in the list whose modules are excluded.
            let isWhole = configuration.targets.excluded == nil
            for name in names.sorted()
            where isWhole && !paths.contains(where: { TargetModules.isNamed($0, in: [name]) }) {
                warn(
                    .unusedPattern, in: file, at: "target_modules",
                    "target_modules names \(name), but no tensor is of such a module")
            }
            for path in paths.sorted() where !TargetModules.isNamed(path, in: names) && !path.contains(".experts") {
                fail(
                    .unexpectedTensor, in: Self.weightsName, at: PEFTFolder.keyPrefix + path + Part.a.rawValue,
                    "\(path) has tensors, but target_modules does not name it")
            }
        }
        guard let lora = configuration.method as? LoRA else { return }
        for (key, patterns) in [
            ("rank_pattern", lora.rankPattern.patterns), ("alpha_pattern", lora.alphaPattern.patterns),
        ] {
            for pattern in patterns {
                guard let compiled = try? ModulePattern(matchingEndOf: pattern),
                    !paths.contains(where: { compiled.matches($0) })
                else { continue }
                warn(
                    .unusedPattern, in: file, at: key,
                    "\(key) has \"\(pattern)\", which no module of the adapter matches",
                    "it must match the end of a module's path as a whole")
            }
        }
    }

    // MARK: Layers

    /// A path in two, around the number of its layer; `nil` where there is none.
    private static func layer(_ path: String) -> (module: String, number: Int)? {
        var components = path.split(separator: ".").map(String.init)
        guard let index = components.firstIndex(where: { Int($0) != nil }), let number = Int(components[index]) else {
            return nil
        }
        components[index] = "*"
        return (components.joined(separator: "."), number)
    }

    /// Layers that lack what others have, where the configuration does not say that they should.
    private mutating func lintLayers(_ paths: [String], _ configuration: PEFTConfiguration?) {
        guard let targets = configuration?.targets, targets.layers == nil, targets.excluded == nil,
            case .names(.list(let names)) = targets.selection, names.allSatisfy({ Self.layer("." + $0) == nil })
        else { return }
        var numbers: [String: Set<Int>] = [:]
        for case let (module, number)? in paths.map({ Self.layer($0) }) { numbers[module, default: []].insert(number) }
        for (module, present) in numbers.sorted(by: { $0.key < $1.key }) {
            // What stands in the same place of the same kind of block.
            let start = module.prefix { $0 != "*" }
            let all = numbers.filter { $0.key.hasPrefix(start) }.values.reduce(into: Set<Int>()) { $0.formUnion($1) }
            let missing = Set(0...(all.max() ?? 0)).subtracting(present).sorted()
            guard !missing.isEmpty else { continue }
            let shown = missing.prefix(6).map(String.init).joined(separator: ", ") + (missing.count > 6 ? ", …" : "")
            fail(
                .missingLayer, in: Self.weightsName, at: "\(PEFTFolder.keyPrefix)\(module)",
                "\(module) is missing in layer \(shown): PEFT would compute with zeros there",
                "save the whole adapter, list the layers in layers_to_transform, or name the base, which tells what it has"
            )
        }
    }

    /// Names of vision transformers changed with transformers 5.
    private mutating func lintDialect(_ paths: [String]) {
        let file = Self.weightsName
        if let old = paths.sorted().first(where: {
            $0.contains(".encoder.layer.") && $0.contains(".attention.attention.")
        }) {
            set(.transformers4)
            warn(
                .dialect, in: file, at: PEFTFolder.keyPrefix + old + Part.a.rawValue,
                "the names are those of transformers 4 (\(old)); PEFT with transformers 5 finds no such module",
                "it is read here; export writes the names it has")
        }
    }
}
