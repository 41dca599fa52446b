import PipelineSpec

/// What is measured of one record, on the thread that encodes it.
struct RecordFeatures: Sendable {
    /// Equal for records that differ in case, white space and punctuation only.
    let hash: UInt64
    /// See ``TextWords/grams(of:)``.
    let grams: [UInt64]
    let personal: PersonalData
    /// The classes that it names.
    let labels: [String]

    init(_ record: Record) {
        let content = record.content
        labels = content.labels.map { $0.text }
        guard let prose = content.prose else {
            // An image: its bytes and its class.
            (hash, grams, personal) = (record.hash, [], PersonalData())
            return
        }
        let words = TextWords.hashes(of: prose)
        let identity = content.identity
        // Only signs, as in a text of emoticons: then they are what there is.
        let all = prose == identity ? words : TextWords.hashes(of: identity)
        hash = all.isEmpty ? record.hash : TextWords.hash(of: all)
        grams = TextWords.grams(of: words)
        personal = PersonalData(in: prose)
    }
}
