import Foundation
import PipelineSpec

extension RetentionPolicy {
    /// The versions that stay for their age alone.
    ///
    /// - Parameter versions: Numbers and when they were made.
    func kept(_ versions: [(number: Int, created: Date)]) -> Set<Int> {
        let newestFirst = versions.sorted { $0.number > $1.number }
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        var kept = Set(newestFirst.prefix(keepLast).map(\.number))
        let periodsKept: [(limit: Int, parts: Set<Calendar.Component>)] = [
            (keepDaily, [.year, .month, .day]), (keepMonthly, [.year, .month]),
        ]
        for (limit, parts) in periodsKept {
            var periods: Set<DateComponents> = []
            for version in newestFirst where periods.count < limit {
                let period = calendar.dateComponents(parts, from: version.created)
                if periods.insert(period).inserted { kept.insert(version.number) }
            }
        }
        return kept
    }
}
