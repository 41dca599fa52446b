import Foundation
import Layers
import TestSupport
import Testing

@testable import Models

/// What transformers makes of the same configurations; `Tests/Reference/rotary_fixtures.py` wrote it.
private struct RotaryFixture {
    let rotary: [[String: Any]]
    let windows: [[String: Any]]

    init() throws {
        let data = try Data(contentsOf: Fixtures.folder("rotary.json"))
        let root = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        rotary = try #require(root["rotary"] as? [[String: Any]])
        windows = try #require(root["windows"] as? [[String: Any]])
    }
}

@Suite struct RotaryTests {
    /// Heads of 64, so that ramps and bands lie within them, shorter and longer than what the base was trained for.
    @Test(arguments: ["transformers4", "transformers5"]) func anglesAreThoseOfTransformers(dialect: String) throws {
        let cases = try RotaryFixture().rotary
        #expect(cases.count >= 8)
        for item in cases {
            let name = try #require(item["name"] as? String)
            let variant = try RotaryVariant(
                configuration: try #require(item[dialect] as? [String: Any]), headDimension: 64)
            let factor = try #require(item["attention_factor"] as? Double)
            #expect(abs(variant.attentionFactor - factor) < 1e-6 * factor, "\(name)")
            for lengths in try #require(item["steps"] as? [[String: Any]]) {
                let length = try #require(lengths["length"] as? Int)
                let expected = try #require(lengths["values"] as? [Double])
                let steps = variant.inverseFrequencies(length: length)
                #expect(steps.count == expected.count && variant.dimension == 2 * expected.count, "\(name)")
                for (index, (step, value)) in zip(steps, expected).enumerated() {
                    #expect(abs(step - value) <= 2e-6 * value, "\(name), \(length) tokens, pair \(index)")
                }
            }
        }
    }

    /// Most published configurations say which layers slide by a rule, and not layer by layer.
    @Test func layersSlideWhereTransformersLetsThem() throws {
        let cases = try RotaryFixture().windows
        #expect(cases.count >= 9)
        for item in cases {
            let name = try #require(item["name"] as? String)
            let values = try JSONSerialization.data(withJSONObject: try #require(item["config"]))
            let configuration = try ModelConfiguration(values, file: URL(filePath: "\(name)/config.json"))
            let decoder = try #require(try ModelRegistry.outline(configuration) as? Decoder)
            let sliding = try #require(item["sliding"] as? [Bool])
            #expect(decoder.design.layers.map { $0.window == 16 } == sliding, "\(name)")
            #expect(decoder.design.layers.allSatisfy { $0.window == nil || $0.window == 16 }, "\(name)")
        }
    }

    /// A base that is stretched while it is used reaches as far as its factor says.
    @Test func dynamicAnglesReachBeyondTheTrainedLength() throws {
        func context(_ kind: String) throws -> Int {
            let values: [String: Any] = [
                "model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16,
                "num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": 100,
                "rope_parameters": ["rope_type": kind, "rope_theta": 10000.0, "factor": 2.5],
            ]
            let data = try JSONSerialization.data(withJSONObject: values)
            return try ModelRegistry.limits(ModelConfiguration(data, file: URL(filePath: "config.json"))).contextLength
        }
        #expect(try context("dynamic") == 250 && context("linear") == 100)
    }
}
