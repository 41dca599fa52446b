extension QueueSchema {
    /// Manifests with a matrix. Their trials are jobs of one claim.
    static let sweeps = """
        CREATE TABLE sweep (
          id            TEXT PRIMARY KEY REFERENCES intake(claim_id),
          tenant        TEXT NOT NULL,
          name          TEXT NOT NULL,
          owner_uid     INTEGER NOT NULL,
          -- The keys in which the trials differ, and the stages of the whole pipeline, as JSON.
          keys          TEXT NOT NULL,
          stages        TEXT NOT NULL,
          trains_winner INTEGER NOT NULL CHECK (trains_winner IN (0,1)),
          created_ms    INTEGER NOT NULL,
          -- The job with the winner's values. When there is nothing to choose from, only the moment is noted.
          follow_up     TEXT REFERENCES job(id),
          settled_ms    INTEGER,
          CHECK ((follow_up IS NOT NULL) <= (settled_ms IS NOT NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX sweep_open ON sweep (id) WHERE trains_winner = 1 AND settled_ms IS NULL;
        CREATE INDEX sweep_name ON sweep (name, id);

        -- A retry of a trial stands in its place.
        ALTER TABLE job ADD COLUMN sweep_id TEXT REFERENCES sweep(id);
        ALTER TABLE job ADD COLUMN trial INTEGER CHECK ((trial IS NULL) = (sweep_id IS NULL));
        CREATE INDEX job_trial ON job (sweep_id, trial, seq) WHERE sweep_id IS NOT NULL;

        """

    /// What trials are ranked by, on the validation split.
    static let sweepMetrics = "ALTER TABLE sweep ADD COLUMN metric TEXT NOT NULL DEFAULT 'loss';"
}
