import Foundation

/// The rotary embedding of a configuration, read from either of Hugging Face's dialects.
///
/// transformers 4 writes `rope_theta`, `rope_scaling`, `partial_rotary_factor` and, for models with two bases,
/// `rope_local_base_freq`; transformers 5 writes `rope_parameters` with all inside, by kind of layer where kinds differ. The
/// formulas are those of transformers' `modeling_rope_utils`, each from the source named at its case.
package struct RotaryVariant: Equatable, Sendable {
    /// Which layers the angles are for, in a model whose kinds of layers have their own.
    package enum LayerKind: String, Sendable {
        case full = "full_attention"
        case sliding = "sliding_attention"
    }

    private enum Scaling: Equatable {
        case none
        /// Positions divided by a factor (Chen et al. 2023, arXiv 2306.15595).
        case linear(factor: Double)
        /// A base that grows with the length beyond the trained one (NTK-aware interpolation).
        case dynamic(factor: Double, trainedLength: Double)
        /// Steps that do not depend on the length: yarn (Peng et al. 2023, arXiv 2309.00071) and llama3.
        case fixed([Double])
        /// One factor a pair, another set beyond the original length (Ding et al. 2024, arXiv 2402.13753).
        case long(short: [Double], long: [Double], originalLength: Int)
    }

    /// How many elements at the start of each head are rotated.
    package let dimension: Int
    /// Multiplies cosines and sines; 1 but for yarn and longrope.
    package let attentionFactor: Double
    private let theta: Double
    private let scaling: Scaling

    /// Why a configuration's rotary embedding cannot be used.
    package struct Unsupported: Error, CustomStringConvertible {
        package let description: String
    }

    /// Reads the rotary embedding of a parsed `config.json`.
    ///
    /// - Parameters:
    ///   - layers: whose angles, where `rope_parameters` tells kinds of layers apart.
    ///   - defaultTheta: the base when none is given.
    /// - Throws: ``Unsupported`` for a variant that is not known, with its name, and for a value that is missing or makes no
    ///   sense, with its key.
    package init(
        configuration: [String: Any], headDimension: Int, layers: LayerKind? = nil, defaultTheta: Double = 10000
    ) throws {
        let source = Source(configuration, layers: layers)
        let kind = source.word("rope_type") ?? source.word("type") ?? "default"
        let share = try source.number("partial_rotary_factor") ?? 1
        let rotated = Int(Double(headDimension) * share)
        guard share > 0, share <= 1, rotated > 0, rotated % 2 == 0 else {
            throw Unsupported(
                description:
                    "partial_rotary_factor \(share) of a head of \(headDimension) leaves no even number of elements")
        }
        let base = try source.number("rope_theta") ?? defaultTheta
        guard base > 0, base.isFinite else {
            throw Unsupported(description: "rope_theta must be a positive number, not \(base)")
        }
        dimension = rotated
        theta = base
        var attention = 1.0
        switch kind {
        case "default": scaling = .none
        case "linear": scaling = .linear(factor: try source.positive("factor"))
        case "dynamic":
            scaling = .dynamic(
                factor: try source.positive("factor"), trainedLength: try source.positive("max_position_embeddings"))
        case "llama3": scaling = .fixed(try Self.llama3(Self.steps(base, rotated), source))
        case "yarn":
            let factor = try source.number("factor") ?? source.lengthRatio()
            scaling = .fixed(try Self.yarn(Self.steps(base, rotated), theta: base, factor: factor, source))
            attention = try source.number("attention_factor") ?? Self.yarnAttention(factor, source)
        case "longrope", "su":
            let original = try source.originalLength()
            let (short, long) = (try source.numbers("short_factor"), try source.numbers("long_factor"))
            guard short.count == rotated / 2, long.count == rotated / 2 else {
                throw Unsupported(
                    description: "short_factor and long_factor must have \(rotated / 2) numbers, "
                        + "not \(short.count) and \(long.count)")
            }
            scaling = .long(short: short, long: long, originalLength: Int(original))
            let ratio = try source.lengthRatio()
            attention =
                try source.number("attention_factor")
                ?? (ratio <= 1 ? 1 : (1 + Foundation.log(ratio) / Foundation.log(original)).squareRoot())
        default:
            throw Unsupported(
                description:
                    "rope_type \(kind) is not supported; supported: default, linear, dynamic, yarn, longrope, llama3")
        }
        attentionFactor = attention
    }

    /// How long a sequence may be. The other variants write the stretched length as `max_position_embeddings`; with `dynamic`
    /// that is the trained one, and the factor says how much further the angles are meant to reach.
    package static func contextLength(of configuration: [String: Any], trained: Int) -> Int {
        let source = Source(configuration, layers: nil)
        guard source.word("rope_type") ?? source.word("type") == "dynamic",
            let factor = try? source.positive("factor"), factor > 1
        else { return trained }
        return Int(min(Double(trained) * factor, 1e9))
    }

    /// One angle step a rotated pair, in radians per position.
    ///
    /// - Parameter length: tokens of the longest sequence of the batch; dynamic and longrope change with it, for the whole
    ///   batch, as in transformers.
    package func inverseFrequencies(length: Int) -> [Double] {
        let steps = Self.steps(theta, dimension)
        switch scaling {
        case .none: return steps
        case .fixed(let fixed): return fixed
        case .linear(let factor): return steps.map { $0 / factor }
        case .dynamic(let factor, let trained):
            let length = max(Double(length), trained)
            let growth = pow(factor * length / trained - (factor - 1), Double(dimension) / Double(dimension - 2))
            return Self.steps(theta * growth, dimension)
        case .long(let short, let long, let original):
            return zip(steps, length > original ? long : short).map { $0 / $1 }
        }
    }

    /// `theta^(−2i/dim)`.
    private static func steps(_ theta: Double, _ dimension: Int) -> [Double] {
        (0..<dimension / 2).map { pow(theta, -2 * Double($0) / Double(dimension)) }
    }

    /// Long wavelengths are divided by the factor, short ones kept, those between blended (Llama 3.1).
    private static func llama3(_ steps: [Double], _ source: Source) throws -> [Double] {
        let factor = try source.positive("factor"), original = try source.originalLength()
        let low = try source.positive("low_freq_factor"), high = try source.positive("high_freq_factor")
        return steps.map { step in
            let wavelength = 2 * Double.pi / step
            if wavelength < original / high { return step }
            if wavelength > original / low { return step / factor }
            let smooth = (original / wavelength - low) / (high - low)
            return (1 - smooth) * step / factor + smooth * step
        }
    }

    private static func yarn(
        _ steps: [Double], theta: Double, factor: Double, _ source: Source
    ) throws -> [Double] {
        let dimension = Double(2 * steps.count), original = try source.originalLength()
        // The pair that turns so many times over the original length.
        func pair(turns: Double) -> Double {
            dimension * Foundation.log(original / (turns * 2 * .pi)) / (2 * Foundation.log(theta))
        }
        var first = pair(turns: try source.number("beta_fast") ?? 32)
        var last = pair(turns: try source.number("beta_slow") ?? 1)
        if source.flag("truncate") ?? true { (first, last) = (first.rounded(.down), last.rounded(.up)) }
        (first, last) = (max(first, 0), min(last, dimension - 1))
        if first == last { last += 0.001 }
        return steps.enumerated().map { index, step in
            let ramp = min(max((Double(index) - first) / (last - first), 0), 1)
            return step / factor * ramp + step * (1 - ramp)
        }
    }

    private static func yarnAttention(_ factor: Double, _ source: Source) throws -> Double {
        func scale(_ weight: Double) -> Double { factor <= 1 ? 1 : 0.1 * weight * Foundation.log(factor) + 1 }
        if let one = try source.number("mscale"), let all = try source.number("mscale_all_dim"), one != 0, all != 0 {
            return scale(one) / scale(all)
        }
        return scale(1)
    }
}

/// The values a variant is made of, whichever dialect they are written in.
private struct Source {
    private let configuration: [String: Any]
    private let parameters: [String: Any]

    init(_ configuration: [String: Any], layers: RotaryVariant.LayerKind?) {
        self.configuration = configuration
        if let five = configuration["rope_parameters"] as? [String: Any] {
            parameters = layers.flatMap { five[$0.rawValue] as? [String: Any] } ?? five
            return
        }
        var four = configuration["rope_scaling"] as? [String: Any] ?? [:]
        four["rope_theta"] = configuration["rope_theta"]
        if layers == .sliding, let local = configuration["rope_local_base_freq"] {
            // The local layers of a model with two bases are never scaled.
            four = ["rope_theta": local]
        }
        parameters = four
    }

    private func value(_ key: String) -> Any? {
        [parameters[key], configuration[key]].compactMap { $0 }.first { !($0 is NSNull) }
    }

    func word(_ key: String) -> String? { parameters[key] as? String }
    func flag(_ key: String) -> Bool? { parameters[key] as? Bool }

    func number(_ key: String) throws -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = value as? NSNumber else {
            throw RotaryVariant.Unsupported(description: "\(key) must be a positive number, not \(value)")
        }
        return number.doubleValue
    }

    func positive(_ key: String) throws -> Double {
        guard let number = try number(key) else {
            throw RotaryVariant.Unsupported(description: "the rotary embedding needs \(key)")
        }
        guard number > 0, number.isFinite else {
            throw RotaryVariant.Unsupported(description: "\(key) must be a positive number, not \(number)")
        }
        return number
    }

    func numbers(_ key: String) throws -> [Double] {
        guard let values = parameters[key] as? [Any] else {
            throw RotaryVariant.Unsupported(description: "the rotary embedding needs \(key), a list of numbers")
        }
        return try values.map { value in
            guard let number = (value as? NSNumber)?.doubleValue, number > 0, number.isFinite else {
                throw RotaryVariant.Unsupported(description: "\(key) must hold positive numbers, not \(value)")
            }
            return number
        }
    }

    /// The context before it was stretched.
    func originalLength() throws -> Double {
        try number("original_max_position_embeddings") ?? positive("max_position_embeddings")
    }

    /// How far the context was stretched.
    func lengthRatio() throws -> Double { try positive("max_position_embeddings") / originalLength() }
}
