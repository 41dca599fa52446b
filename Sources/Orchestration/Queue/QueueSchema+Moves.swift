extension QueueSchema {
    /// Aliases that people move: written down before the store follows, as what gates decide is, so that nobody who
    /// wants to be told of it is not because the machine died in between.
    static let moves = """
        CREATE TABLE alias_move (
          id           TEXT PRIMARY KEY,
          collection   TEXT NOT NULL,
          name         TEXT NOT NULL,
          alias        TEXT NOT NULL,
          version      INTEGER NOT NULL,
          digest       TEXT NOT NULL,
          from_version INTEGER,
          cause        TEXT NOT NULL CHECK (cause IN ('hand','rollback')),
          reason       TEXT NOT NULL,
          at_ms        INTEGER NOT NULL,
          settled_ms   INTEGER,
          settlement   TEXT CHECK (settlement IN ('applied','superseded')),
          CHECK (from_version IS NULL OR from_version <> version),
          CHECK ((settled_ms IS NULL) = (settlement IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX alias_move_open ON alias_move (at_ms) WHERE settled_ms IS NULL;

        CREATE TRIGGER alias_move_once BEFORE UPDATE OF id, collection, name, alias, version, digest, from_version,
          cause, reason, at_ms ON alias_move
        BEGIN SELECT RAISE(ABORT, 'a decision stays what it is'); END;
        CREATE TRIGGER alias_move_settled_once BEFORE UPDATE OF settled_ms, settlement ON alias_move
        WHEN OLD.settled_ms IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'a decision is followed once'); END;

        -- Told once the alias has moved, in the transaction that says so.
        CREATE TRIGGER notice_of_move AFTER UPDATE OF settlement ON alias_move
        WHEN NEW.settlement = 'applied' AND OLD.settlement IS NULL AND EXISTS (SELECT 1 FROM notice_target)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms)
          VALUES ('promoted/' || NEW.id, 'promoted', NEW.id, NEW.settled_ms) ON CONFLICT DO NOTHING;
        END;

        -- Whatever moves aliases, for whoever follows.
        CREATE VIEW decision AS
          SELECT id, job_id, collection, name, alias, version, digest, moves, from_version, outcome, 'gate' AS cause,
            reason, at_ms, settled_ms, settlement FROM gate_decision
          UNION ALL
          SELECT id, NULL, collection, name, alias, version, digest, 1, from_version, 'passed', cause, reason,
            at_ms, settled_ms, settlement FROM alias_move;

        """
}
