/// What decides which job goes next, in points, and what each part of it is worth.
///
/// The idea is Slurm's multifactor priority: a weighted sum whose terms can be shown. One point is an hour of waiting.
/// - A person gives −100…100 points to a job, and as many to a queue.
/// - Waiting gives a point an hour for three days, then a tenth of that: enough for every job to come up in the end,
///   too little for an old backlog to shut out a tenant who rarely asks.
/// - The fair share gives 200 points to a tenant that has used nothing lately, half of it to one that has used just its
///   share, and next to none to one that has used far more.
package struct EffectivePriority: Sendable, Equatable {
    /// The job's own.
    package let job: Double
    /// Its queue's.
    package let queue: Double
    package let age: Double
    package let share: Double

    package var total: Double { job + queue + age + share }

    /// The most that a fair share is worth.
    static let sharePoints = 200.0
    /// Hours of waiting that count in full.
    static let fullHours = 72.0
    /// What an hour is worth after that.
    static let lateRate = 0.1

    /// - Parameters:
    ///   - waited: Seconds in which it could have run, but for others.
    ///   - share: ``FairShare/factor(of:)``, 0…1.
    package init(priority: Int, queuePriority: Int, waited: Double, share: Double) {
        let hours = max(0, waited) / 3600
        job = Double(priority)
        queue = Double(queuePriority)
        age = min(hours, Self.fullHours) + max(0, hours - Self.fullHours) * Self.lateRate
        self.share = Self.sharePoints * share
    }
}
