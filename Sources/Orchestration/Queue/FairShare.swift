import Foundation

/// How much of the machine each tenant has used of late, against what it is entitled to.
///
/// Usage is threads times seconds, halved every seven days. The factor is that of Slurm's classic fair share,
/// 2^(−used / entitled), where both are parts of the whole.
package struct FairShare: Sendable, Equatable {
    /// What was used counts half after so many seconds.
    static let halfLife = 7.0 * 86_400

    /// Core-seconds by tenant, as they count now.
    private(set) var usage: [String: Double] = [:]
    private var weights: [String: Double] = [:]
    private var tenants: Set<String> = []

    /// What is left of an amount after so many seconds; a clock that went back leaves it as it was.
    static func decayed(_ amount: Double, seconds: Double) -> Double { amount * exp2(-max(0, seconds) / halfLife) }

    mutating func setWeight(_ weight: Double, of tenant: String) { weights[tenant] = weight }

    /// Counts a tenant in, whether it has used anything or not.
    mutating func add(_ tenant: String, coreSeconds: Double = 0) {
        tenants.insert(tenant)
        usage[tenant, default: 0] += coreSeconds
    }

    func weight(of tenant: String) -> Double { weights[tenant] ?? 1 }

    /// The part of all that was used.
    func used(by tenant: String) -> Double {
        let total = usage.values.reduce(0, +)
        return total > 0 ? (usage[tenant] ?? 0) / total : 0
    }

    /// The part that its weight entitles it to, of the tenants that use the machine.
    func entitled(_ tenant: String) -> Double {
        let all = tenants.union([tenant]).reduce(0) { $0 + weight(of: $1) }
        return weight(of: tenant) / all
    }

    /// 1 for a tenant that has used nothing, ½ for one that has used just its share, less for more.
    func factor(of tenant: String) -> Double { exp2(-used(by: tenant) / entitled(tenant)) }
}
