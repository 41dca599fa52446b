import Foundation

/// A chart as an SVG element: a few curves over one axis, or bars.
struct LineChart {
    struct Curve {
        var name: String
        var points: [RunReport.Point]
        /// The name of a class of the page's style.
        var style: String
        /// Whether each point has a dot of its own.
        var hasDots = false
    }

    var title: String
    var xLabel: String
    var curves: [Curve]

    private static let width = 720.0, height = 240.0
    private static let left = 64.0, right = 16.0, top = 12.0, bottom = 36.0

    /// The SVG, or a sentence where there is nothing to draw.
    var svg: String {
        let points = curves.flatMap(\.points)
        guard let xs = Self.range(points.map(\.x)), let ys = Self.range(points.map(\.y)) else {
            return "<p class=\"none\">\(Self.escaped(title)): nothing was recorded.</p>"
        }
        func x(_ value: Double) -> Double {
            Self.left + (value - xs.low) / (xs.high - xs.low) * (Self.width - Self.left - Self.right)
        }
        func y(_ value: Double) -> Double {
            Self.height - Self.bottom - (value - ys.low) / (ys.high - ys.low) * (Self.height - Self.top - Self.bottom)
        }
        var text = Self.open(title)
        for step in 0...4 {
            let value = ys.low + (ys.high - ys.low) * Double(step) / 4
            text +=
                "<line class=\"grid\" x1=\"\(Self.left)\" x2=\"\(Self.width - Self.right)\" y1=\"\(Self.place(y(value)))\" "
            text += "y2=\"\(Self.place(y(value)))\"/>"
            text += "<text class=\"tick\" text-anchor=\"end\" x=\"\(Self.left - 6)\" y=\"\(Self.place(y(value) + 4))\">"
            text += "\(Self.number(value))</text>"
        }
        for value in [xs.low, (xs.low + xs.high) / 2, xs.high] {
            text +=
                "<text class=\"tick\" text-anchor=\"middle\" x=\"\(Self.place(x(value)))\" y=\"\(Self.height - 18)\">"
            text += "\(Self.number(value))</text>"
        }
        text += "<text class=\"tick\" text-anchor=\"middle\" x=\"\(Self.width / 2)\" y=\"\(Self.height - 4)\">"
        text += "\(Self.escaped(xLabel))</text>"
        for curve in curves where !curve.points.isEmpty {
            // More than a thousand points are more than a screen shows.
            let step = max(1, curve.points.count / 1000)
            let shown = curve.points.enumerated().filter {
                $0.offset % step == 0 || $0.offset == curve.points.count - 1
            }.map(\.element)
            let path = shown.map { "\(Self.place(x($0.x))),\(Self.place(y($0.y)))" }.joined(separator: " ")
            text +=
                "<polyline class=\"\(curve.style)\" points=\"\(path)\"><title>\(Self.escaped(curve.name))</title></polyline>"
            guard curve.hasDots || shown.count == 1 else { continue }
            for point in shown {
                text +=
                    "<circle class=\"\(curve.style)\" cx=\"\(Self.place(x(point.x)))\" cy=\"\(Self.place(y(point.y)))\" r=\"3\">"
                text += "<title>\(Self.escaped(curve.name)) \(Self.number(point.y))</title></circle>"
            }
        }
        return text + "</svg>" + legend
    }

    private var legend: String {
        let named = curves.filter { !$0.points.isEmpty }
        guard named.count > 1 else { return "" }
        return "<p class=\"legend\">"
            + named.map { "<span class=\"key \($0.style)\">\(Self.escaped($0.name))</span>" }.joined(separator: " ")
            + "</p>"
    }

    /// Bars with a label below each.
    static func bars(title: String, _ bars: [(label: String, value: Double)]) -> String {
        guard let most = bars.map(\.value).max(), most > 0 else {
            return "<p class=\"none\">\(escaped(title)): nothing was recorded.</p>"
        }
        var text = open(title)
        let slot = (width - left - right) / Double(bars.count)
        for (index, bar) in bars.enumerated() {
            let size = bar.value / most * (height - top - bottom - 14)
            let x = left + Double(index) * slot
            let y = height - bottom - size
            text +=
                "<rect class=\"bar\" x=\"\(place(x + slot * 0.1))\" y=\"\(place(y))\" width=\"\(place(slot * 0.8))\" "
            text += "height=\"\(place(size))\"><title>\(escaped(bar.label)): \(number(bar.value))</title></rect>"
            text += "<text class=\"tick\" text-anchor=\"middle\" x=\"\(place(x + slot / 2))\" y=\"\(height - 18)\">"
            text += "\(escaped(bar.label))</text>"
            text += "<text class=\"tick\" text-anchor=\"middle\" x=\"\(place(x + slot / 2))\" y=\"\(place(y - 4))\">"
            text += "\(number(bar.value))</text>"
        }
        return text + "</svg>"
    }

    // MARK: Parts

    private static func open(_ title: String) -> String {
        "<svg role=\"img\" aria-label=\"\(escaped(title))\" viewBox=\"0 0 \(Int(width)) \(Int(height))\">"
    }

    /// From the least to the greatest, and never of no extent; `nil` for no value.
    private static func range(_ values: [Double]) -> (low: Double, high: Double)? {
        guard let low = values.min(), let high = values.max() else { return nil }
        let margin = high > low ? 0 : max(abs(low) * 0.1, 0.5)
        return (low - margin, high + margin)
    }

    private static func place(_ value: Double) -> String { String(format: "%.1f", value) }

    /// A number in at most five digits.
    static func number(_ value: Double) -> String {
        if value == value.rounded(), abs(value) < 1e6 { return String(format: "%.0f", value) }
        return String(format: abs(value) < 0.001 || abs(value) >= 1e6 ? "%.2e" : "%.4g", value)
    }

    /// Text between tags or in a quoted attribute.
    static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.append(character)
            }
        }
    }
}
