import Testing

@testable import Stages

/// How far an evaluation has come, on a clock of the test.
@Suite struct ContestProgressTests {
    private final class Watch {
        var now = 100.0
        var told: [(fraction: Double, seconds: Double?)] = []
    }

    @Test func whatIsLeftFollowsFromWhatIsDone() throws {
        let watch = Watch()
        let progress = ContestProgress(clock: { watch.now }) { watch.told.append(($0, $1)) }
        progress.expect(300)
        progress.doing(100) {
            watch.now += 5
            progress.reach(0.5)
            watch.now += 5
        }
        #expect(watch.told.map { $0.seconds } == [25, 20])
        #expect(abs(progress.fraction - (0.02 + 0.96 / 3)) < 1e-9)
        // What is known from an earlier night takes no time.
        progress.expect(-100)
        progress.doing(100) { watch.now += 10 }
        #expect(watch.told.last?.seconds == 0 && abs(progress.fraction - 0.98) < 1e-9)
    }

    @Test func itNeverGoesBackAndDoesNotChatter() throws {
        let watch = Watch()
        let progress = ContestProgress(clock: { watch.now }) { watch.told.append(($0, $1)) }
        progress.expect(100)
        progress.doing(100) {
            for step in 1...1000 {
                watch.now += 0.01
                progress.reach(Double(step) / 1000)
            }
        }
        #expect(watch.told.count < 25)
        let before = progress.fraction
        // There turns out to be as much again to do.
        progress.expect(100)
        #expect(progress.fraction == before)
        progress.doing(100) { watch.now += 10 }
        let fractions = watch.told.map { $0.fraction }
        #expect(fractions == fractions.sorted())
    }
}
