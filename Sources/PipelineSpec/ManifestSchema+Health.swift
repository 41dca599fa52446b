/// The keys that say what data a job may be trained on.
extension ManifestSchema {
    static let healthFields: [ManifestField] = [
        share(
            "max_duplicates", \.maxDuplicates,
            "Most training records, as a share, that may repeat an earlier one but for case, spaces and punctuation."),
        share(
            "max_near_duplicates", \.maxNearDuplicates,
            "Most training records that may have four fifths of their passages in earlier ones; a passage is 13 words, less in "
                + "short records."),
        share(
            "max_overlap", \.maxOverlap,
            "Most records of validation or test that may be trained on, in whole or with half of their passages."),
        share(
            "max_length_drift", \.maxLengthDrift,
            "How much the average length of an example may be off that of the version in production."),
        share(
            "max_label_drift", \.maxLabelDrift,
            "How much the shares of the classes may be off those of the version in production: half the sum of the "
                + "differences."),
        ManifestField(
            "data.health.max_personal", .orNull(.integer(0...1_000_000_000)),
            "Most mail addresses, phone numbers and card numbers that may be in the data.",
            get: { $0.data.health.maxPersonal.map { .integer($0) } ?? .null },
            set: { $0.data.health.maxPersonal = $1 == .null ? nil : try $1.int() }),
    ]

    private static func share(
        _ key: String, _ path: any WritableKeyPath<JobManifest.Health, Double?> & Sendable, _ documentation: String
    ) -> ManifestField {
        ManifestField(
            "data.health.\(key)", .orNull(.portion), documentation,
            get: { $0.data.health[keyPath: path].map { .string(Quantity.percent($0)) } ?? .null },
            set: { $0.data.health[keyPath: path] = $1 == .null ? nil : try $1.share() })
    }
}
