import Foundation
import PipelineSpec
import Testing

@testable import lorajobs

@Suite struct RenderingTests {
    private let plain = Terminal(isInteractive: false, hasColor: false, width: nil)

    @Test func widthCountsColumnsAndNotLetters() {
        #expect(DisplayWidth.of("abc") == 3)
        #expect(DisplayWidth.of("日本語") == 6)
        #expect(DisplayWidth.of("e\u{301}t\u{E9}") == 3)
        #expect(DisplayWidth.of("👩‍👩‍👧") == 2)
        #expect(DisplayWidth.of("█░…") == 3)
        #expect(DisplayWidth.fit("日本語", in: 5) == "日本…")
        #expect(DisplayWidth.fit("日本語", in: 4) == "日…")
        #expect(DisplayWidth.fit("abc", in: 3) == "abc")
        #expect(DisplayWidth.pad("日本", to: 6) == "日本  ")
        #expect(DisplayWidth.pad("7", to: 3, right: true) == "  7")
    }

    @Test func tableAlignsByWidthAndEndsNoLineInSpaces() {
        var table = Table("NAME >N ~REASON")
        table.add([Table.Cell("日本語"), Table.Cell("7"), Table.Cell("")])
        table.add([Table.Cell("a"), Table.Cell("1234"), Table.Cell("because")])
        #expect(
            table.text(plain) == """
                NAME       N  REASON
                日本語     7
                a       1234  because

                """)
    }

    @Test func tableFitsANarrowTerminal() {
        var table = Table("ID ~NAME ~REASON")
        table.add([
            Table.Cell("01ABC"), Table.Cell(String(repeating: "n", count: 30)),
            Table.Cell(String(repeating: "r", count: 60)),
        ])
        let narrow = Terminal(isInteractive: true, hasColor: false, width: 60)
        let lines = table.text(narrow).split(separator: "\n")
        #expect(lines.allSatisfy { DisplayWidth.of(String($0)) <= 60 })
        #expect(lines[1].hasPrefix("01ABC  nnn"))
        #expect(lines[1].hasSuffix("…"))
    }

    @Test func cellsShowControlCharactersInsteadOfObeyingThem() {
        var table = Table("A")
        table.add([Table.Cell("x\u{1B}[2Jy\nz")])
        #expect(!table.text(plain).contains("\u{1B}"))
        #expect(table.text(plain).contains("\\n"))
    }

    @Test func colourOnlyWhereThereIsColour() {
        #expect(plain.paint("failed", .red) == "failed")
        let colourful = Terminal(isInteractive: true, hasColor: true, width: 80)
        #expect(colourful.paint("failed", .red) == "\u{1B}[31mfailed\u{1B}[0m")
        // The test's own output is a pipe or a file, whatever the environment says.
        #expect(!Terminal(-1, environment: ["TERM": "xterm"]).hasColor)
    }

    @Test(arguments: [
        (0.0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (192, "3m12s"), (7500, "2h05m"), (356_400, "4d03h"), (-1, "?"),
        (.nan, "?"), (.infinity, "?"),
    ])
    func durations(seconds: Double, text: String) {
        #expect(Durations.text(seconds) == text)
    }

    @Test func timeouts() {
        #expect(Durations.seconds("90") == 90)
        #expect(Durations.seconds("1.5") == 1.5)
        #expect(Durations.seconds("8h") == 28_800)
        #expect(Durations.seconds("soon") == nil)
        #expect(Durations.seconds("-3") == nil)
        #expect(Durations.seconds("inf") == nil)
    }

    @Test func amounts() {
        #expect(Amounts.bytes(512) == "512 B")
        #expect(Amounts.bytes(12 << 20) == "12.0 MiB")
        #expect(Amounts.number(1.83249) == "1.832")
        #expect(Amounts.number(12345.6) == "12346")
        #expect(Amounts.number(.nan) == "nan")
        #expect(Amounts.percent(0.999) == "99%")
        #expect(Amounts.percent(1) == "99%")
        #expect(Amounts.percent(1, isDone: true) == "100%")
        #expect(Amounts.percent(-1) == "0%")
    }

    @Test(arguments: [20, 40, 60, 79, 200])
    func progressFitsItsWidth(width: Int) {
        let event = ProgressEvent(
            time: 0, fraction: 0.5, step: 50, steps: 100, loss: 1.8324, tokensPerSecond: 812.4,
            message: "saved a checkpoint")
        let line = ProgressBar.line(stage: "train", fraction: 0.5, event: event, eta: 192, width: width)
        #expect(DisplayWidth.of(line) <= width)
        #expect(line.contains("train"))
        #expect(line.contains("50%"))
        if width >= 79 {
            #expect(line.contains("loss 1.832") && line.contains("812.4 tok/s") && line.contains("ETA 3m12s"))
        }
    }

    @Test func progressMovesInEighthsOfAColumn() {
        let lines = (0...240).map {
            ProgressBar.line(stage: "s", fraction: Double($0) / 240, event: nil, eta: nil, width: 80)
        }
        #expect(Set(lines.map { $0.dropLast(6) }).count == 241)
        #expect(Set(lines.map { DisplayWidth.of($0) }).count == 1)
    }
}
