extension QueueSchema {
    /// What somebody is to be told of, and what came of it.
    ///
    /// A notice is made by a trigger, in the transaction that makes it true, whoever writes: so none is forgotten where a
    /// state changes in a new place, and what was not committed is not told. Its id follows from what it speaks of, so
    /// that nothing is told twice as two things.
    static let notices = """
        -- The targets that the daemon knows. Without any, nobody is told of anything, and nothing is written down.
        CREATE TABLE notice_target (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

        -- The body is what is told, made once, when it is known who is told; every try sends the same.
        CREATE TABLE notice (
          id      TEXT PRIMARY KEY,
          event   TEXT NOT NULL CHECK (event IN ('finished','failed','rejected','gate_failed','promoted')),
          subject TEXT NOT NULL,
          at_ms   INTEGER NOT NULL,
          body    TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX notice_open ON notice (at_ms) WHERE body IS NULL;

        -- A try is counted before it is made: a daemon that dies of one does not make it for ever.
        CREATE TABLE notice_delivery (
          notice_id  TEXT NOT NULL REFERENCES notice(id) ON DELETE CASCADE,
          target     TEXT NOT NULL,
          state      TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending','delivered','failed')),
          tries      INTEGER NOT NULL DEFAULT 0,
          due_ms     INTEGER NOT NULL,
          tried_ms   INTEGER,
          settled_ms INTEGER,
          answer     TEXT,
          PRIMARY KEY (notice_id, target),
          CHECK ((settled_ms IS NULL) = (state = 'pending'))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX notice_delivery_due ON notice_delivery (due_ms) WHERE state = 'pending';

        CREATE TRIGGER notice_of_job AFTER UPDATE OF state ON job
        WHEN NEW.state IN ('succeeded','failed') AND OLD.finished_ms IS NULL AND \(isAnyoneTold)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms) VALUES (
            CASE NEW.state WHEN 'failed' THEN 'failed/' ELSE 'finished/' END || NEW.id,
            CASE NEW.state WHEN 'failed' THEN 'failed' ELSE 'finished' END, NEW.id, NEW.finished_ms)
          ON CONFLICT DO NOTHING;
        END;

        CREATE TRIGGER notice_of_rejection AFTER INSERT ON intake WHEN NEW.verdict = 'rejected' AND \(isAnyoneTold)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms)
          VALUES ('rejected/' || NEW.claim_id, 'rejected', NEW.claim_id, NEW.received_ms) ON CONFLICT DO NOTHING;
        END;

        CREATE TRIGGER notice_of_schedule AFTER INSERT ON schedule_fire WHEN NEW.outcome = 'rejected' AND \(isAnyoneTold)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms)
          VALUES ('rejected/' || NEW.schedule_id || '/' || NEW.occurrence, 'rejected',
            NEW.schedule_id || '/' || NEW.occurrence, NEW.fired_ms) ON CONFLICT DO NOTHING;
        END;

        CREATE TRIGGER notice_of_gate AFTER INSERT ON gate_decision
        WHEN NEW.outcome IN ('failed','held') AND \(isAnyoneTold)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms)
          VALUES ('gate_failed/' || NEW.id, 'gate_failed', NEW.id, NEW.at_ms) ON CONFLICT DO NOTHING;
        END;

        -- Told once the alias has moved: whoever is told finds it there.
        CREATE TRIGGER notice_of_promotion AFTER UPDATE OF settlement ON gate_decision
        WHEN NEW.settlement = 'applied' AND OLD.settlement IS NULL AND NEW.moves = 1 AND \(isAnyoneTold)
        BEGIN
          INSERT INTO notice (id, event, subject, at_ms)
          VALUES ('promoted/' || NEW.id, 'promoted', NEW.id, NEW.settled_ms) ON CONFLICT DO NOTHING;
        END;

        """

    private static let isAnyoneTold = "EXISTS (SELECT 1 FROM notice_target)"
}
