import GRDB

/// The tables, and the rules the database itself keeps: which transitions are legal, that a stage has one live
/// attempt, that a concurrency key has one started job, that an intake row never changes.
///
/// Times are milliseconds since 1970, given by the program. Ids are ULIDs, minted before the row is written.
enum QueueSchema {
    /// `LORA`, in `PRAGMA application_id`.
    static let applicationID: Int32 = 0x4C4F_5241
    /// `PRAGMA user_version`.
    ///
    /// A database with a higher one is refused.
    static let version: Int32 = 9

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { try $0.execute(sql: first) }
        migrator.registerMigration("2") { try $0.execute(sql: second + scheduling) }
        migrator.registerMigration("3") { try $0.execute(sql: gates) }
        migrator.registerMigration("budget") { try $0.execute(sql: budget) }
        migrator.registerMigration("sweeps") { try $0.execute(sql: sweeps) }
        migrator.registerMigration("notices") { try $0.execute(sql: notices) }
        migrator.registerMigration("sweep metrics") { try $0.execute(sql: sweepMetrics) }
        migrator.registerMigration("moves") { try $0.execute(sql: moves) }
        // Of all that gates have ever decided, `status` asks for these.
        migrator.registerMigration("held") {
            try $0.execute(
                sql: "CREATE INDEX gate_decision_held ON gate_decision (at_ms, id) WHERE outcome = 'held'")
        }
        return migrator
    }

    /// The first schema, as released: databases of it are brought up to date from here.
    static let first = tables + transitions

    private static let tables = """
        -- One row. The epoch grows with each daemon; every write of a daemon checks it, so that one that lost its
        -- lock cannot commit.
        CREATE TABLE daemon (
          one        INTEGER PRIMARY KEY CHECK (one = 1),
          epoch      INTEGER NOT NULL,
          boot_id    TEXT    NOT NULL,
          pid        INTEGER NOT NULL,
          cores      INTEGER NOT NULL,
          started_ms INTEGER NOT NULL
        ) STRICT;

        -- One row per claimed file, accepted or not.
        CREATE TABLE intake (
          claim_id    TEXT PRIMARY KEY,
          tenant      TEXT NOT NULL,
          orig_name   TEXT NOT NULL,
          sha256      TEXT NOT NULL,
          bytes       BLOB NOT NULL,
          size        INTEGER NOT NULL,
          owner_uid   INTEGER NOT NULL,
          received_ms INTEGER NOT NULL,
          verdict     TEXT NOT NULL CHECK (verdict IN ('accepted','rejected','coalesced','duplicate')),
          job_id      TEXT REFERENCES job(id) DEFERRABLE INITIALLY DEFERRED,
          error_json  TEXT,
          filed_path  TEXT,
          filed_ms    INTEGER,
          CHECK ((verdict = 'rejected') = (error_json IS NOT NULL)),
          CHECK ((verdict = 'rejected') = (job_id IS NULL))
        ) STRICT;
        CREATE INDEX intake_unfiled ON intake (claim_id) WHERE filed_ms IS NULL;
        CREATE INDEX intake_rejected ON intake (received_ms) WHERE verdict = 'rejected';

        CREATE TABLE job (
          id                  TEXT PRIMARY KEY,
          seq                 INTEGER NOT NULL UNIQUE,
          claim_id            TEXT REFERENCES intake(claim_id),
          claim_index         INTEGER NOT NULL DEFAULT 0,
          retry_of            TEXT REFERENCES job(id),
          name                TEXT NOT NULL,
          tenant              TEXT NOT NULL,
          queue               TEXT NOT NULL REFERENCES queue(name),
          priority            INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
          threads             INTEGER NOT NULL CHECK (threads >= 1),
          spec                BLOB NOT NULL,
          spec_sha256         TEXT NOT NULL,
          manifest_sha256     TEXT NOT NULL,
          origins             BLOB NOT NULL,
          idempotency_key     TEXT,
          unique_key          TEXT,
          on_conflict         TEXT NOT NULL CHECK (on_conflict IN ('coalesce','queue','replace','reject')),
          pins                BLOB,
          resume              INTEGER NOT NULL DEFAULT 1 CHECK (resume IN (0,1)),
          state               TEXT NOT NULL CHECK (state IN ('held','waiting','queued','running','retry_wait',
                                                             'succeeded','failed','cancelled','skipped')),
          reason              TEXT,
          adapter             TEXT,
          not_before_ms       INTEGER NOT NULL DEFAULT 0,
          cancel_requested_ms INTEGER,
          created_ms          INTEGER NOT NULL,
          started_ms          INTEGER,
          finished_ms         INTEGER,
          UNIQUE (claim_id, claim_index),
          CHECK ((finished_ms IS NOT NULL) = (state IN ('succeeded','failed','cancelled','skipped'))),
          CHECK (state NOT IN ('running','retry_wait','succeeded') OR started_ms IS NOT NULL)
        ) STRICT;

        CREATE UNIQUE INDEX job_idempotency ON job (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
        -- Of one concurrency key, one job has started and not finished, and of those that coalesce, one of each
        -- content is pending. The split is by started_ms, not by state: by state, a retry or a drain of the running
        -- job would be refused while a successor waits.
        CREATE UNIQUE INDEX job_one_active ON job (tenant, unique_key)
          WHERE unique_key IS NOT NULL AND started_ms IS NOT NULL AND finished_ms IS NULL;
        CREATE UNIQUE INDEX job_one_equal_pending ON job (tenant, unique_key, spec_sha256)
          WHERE unique_key IS NOT NULL AND on_conflict = 'coalesce' AND started_ms IS NULL AND finished_ms IS NULL;
        CREATE INDEX job_pick ON job (priority DESC, seq) WHERE state = 'queued';
        CREATE INDEX job_unfinished ON job (seq) WHERE finished_ms IS NULL;

        CREATE TABLE job_dep (
          job_id TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
          needs  TEXT NOT NULL REFERENCES job(id),
          cond   TEXT NOT NULL CHECK (cond IN ('ok','any','notok')),
          PRIMARY KEY (job_id, needs)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX job_dep_needs ON job_dep (needs);

        CREATE TABLE stage_run (
          id              TEXT PRIMARY KEY,
          job_id          TEXT NOT NULL REFERENCES job(id) ON DELETE CASCADE,
          name            TEXT NOT NULL,
          ord             INTEGER NOT NULL,
          kind            TEXT NOT NULL,
          needs           TEXT NOT NULL,
          condition       TEXT,
          timeout_seconds REAL NOT NULL CHECK (timeout_seconds > 0),
          retries         INTEGER NOT NULL CHECK (retries >= 0),
          state           TEXT NOT NULL CHECK (state IN ('blocked','ready','running','retry_wait','succeeded',
                                                         'cached','skipped','failed','cancelled')),
          cache_key       TEXT,
          output_digest   TEXT,
          output_path     TEXT,
          published       TEXT,
          why             TEXT,
          not_before_ms   INTEGER NOT NULL DEFAULT 0,
          user_attempts   INTEGER NOT NULL DEFAULT 0,
          infra_attempts  INTEGER NOT NULL DEFAULT 0,
          UNIQUE (job_id, name),
          UNIQUE (job_id, ord),
          CHECK ((state IN ('succeeded','cached')) <= (output_digest IS NOT NULL))
        ) STRICT;

        CREATE INDEX stage_run_published ON stage_run (cache_key) WHERE published IS NOT NULL;

        CREATE TABLE attempt (
          id             TEXT PRIMARY KEY,
          stage_id       TEXT NOT NULL REFERENCES stage_run(id) ON DELETE CASCADE,
          n              INTEGER NOT NULL,
          epoch          INTEGER NOT NULL,
          executor       TEXT NOT NULL,
          external_id    TEXT,
          pid            INTEGER,
          pid_start      INTEGER,
          boot_id        TEXT NOT NULL,
          boot_seconds   REAL NOT NULL,
          workdir        TEXT NOT NULL,
          state          TEXT NOT NULL CHECK (state IN ('starting','running','succeeded','failed','crashed','oom',
                                                        'timeout','cancelled','preempted','lost')),
          exit_code      INTEGER,
          term_signal    INTEGER,
          error_json     TEXT,
          metrics_json   TEXT,
          resume_from    TEXT,
          peak_rss       INTEGER,
          cpu_ms         INTEGER,
          started_ms     INTEGER NOT NULL,
          ended_ms       INTEGER,
          UNIQUE (stage_id, n),
          CHECK ((ended_ms IS NULL) = (state IN ('starting','running')))
        ) STRICT;
        CREATE UNIQUE INDEX attempt_one_live ON attempt (stage_id) WHERE state IN ('starting','running');

        CREATE TABLE queue (
          name TEXT PRIMARY KEY,
          paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0,1)),
          max_jobs INTEGER CHECK (max_jobs >= 1)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO queue (name) VALUES ('default');

        CREATE TABLE event (
          id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL,
          job_id TEXT, stage_id TEXT, attempt_id TEXT, kind TEXT NOT NULL, data TEXT NOT NULL DEFAULT '{}'
        ) STRICT;
        CREATE INDEX event_job ON event (job_id, id);

        """

    private static let transitions = """
        CREATE TRIGGER job_transitions BEFORE UPDATE OF state ON job
        WHEN NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN (
          'held>waiting','held>queued','held>cancelled',
          'waiting>queued','waiting>held','waiting>cancelled','waiting>skipped','waiting>failed',
          'queued>held','queued>running','queued>cancelled','queued>skipped','queued>failed',
          'running>succeeded','running>failed','running>cancelled','running>retry_wait','running>queued',
          'running>skipped',
          'retry_wait>queued','retry_wait>cancelled','retry_wait>failed','retry_wait>held')
        BEGIN SELECT RAISE(ABORT, 'illegal job transition'); END;

        CREATE TRIGGER job_started_once BEFORE UPDATE OF started_ms ON job
        WHEN OLD.started_ms IS NOT NULL AND NEW.started_ms IS NOT OLD.started_ms
        BEGIN SELECT RAISE(ABORT, 'started_ms is set once'); END;

        CREATE TRIGGER job_specification_once BEFORE UPDATE OF spec, spec_sha256, claim_id ON job
        BEGIN SELECT RAISE(ABORT, 'a job keeps its specification'); END;

        CREATE TRIGGER attempt_transitions BEFORE UPDATE OF state ON attempt
        WHEN NEW.state <> OLD.state AND OLD.state NOT IN ('starting','running')
        BEGIN SELECT RAISE(ABORT, 'attempt already final'); END;

        CREATE TRIGGER stage_transitions BEFORE UPDATE OF state ON stage_run
        WHEN NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN (
          'blocked>ready','blocked>skipped','blocked>cancelled',
          'ready>running','ready>cached','ready>skipped','ready>cancelled','ready>failed',
          'running>succeeded','running>failed','running>retry_wait','running>cancelled','running>ready',
          'retry_wait>ready','retry_wait>cancelled','retry_wait>failed')
        BEGIN SELECT RAISE(ABORT, 'illegal stage transition'); END;

        CREATE TRIGGER intake_append_only
        BEFORE UPDATE OF claim_id, tenant, orig_name, bytes, sha256, received_ms, verdict, job_id, error_json ON intake
        BEGIN SELECT RAISE(ABORT, 'intake is append-only'); END;
        CREATE TRIGGER intake_kept BEFORE DELETE ON intake
        BEGIN SELECT RAISE(ABORT, 'intake is append-only'); END;
        CREATE TRIGGER event_append_only BEFORE UPDATE ON event
        BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;

        """

    /// What gates have decided. A row is made in the transaction that ends its job; aliases and logs of the store follow
    /// it, which `settled_ms` says.
    private static let gates = """
        ALTER TABLE job ADD COLUMN gate TEXT CHECK (gate IN ('passed','failed','held'));

        CREATE TABLE gate_decision (
          id           TEXT PRIMARY KEY,
          job_id       TEXT NOT NULL UNIQUE REFERENCES job(id),
          collection   TEXT NOT NULL,
          name         TEXT NOT NULL,
          alias        TEXT NOT NULL,
          version      INTEGER NOT NULL,
          digest       TEXT NOT NULL,
          moves        INTEGER NOT NULL CHECK (moves IN (0,1)),
          from_version INTEGER,
          outcome      TEXT NOT NULL CHECK (outcome IN ('passed','failed','held')),
          reason       TEXT NOT NULL,
          at_ms        INTEGER NOT NULL,
          settled_ms   INTEGER,
          settlement   TEXT CHECK (settlement IN ('applied','superseded')),
          CHECK (moves <= (outcome = 'passed')),
          CHECK ((settled_ms IS NULL) = (settlement IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX gate_decision_open ON gate_decision (at_ms) WHERE settled_ms IS NULL;

        CREATE TRIGGER gate_decision_once BEFORE UPDATE OF id, job_id, collection, name, alias, version, digest, moves,
          from_version, outcome, reason, at_ms ON gate_decision
        BEGIN SELECT RAISE(ABORT, 'a decision stays what it is'); END;
        CREATE TRIGGER gate_decision_settled_once BEFORE UPDATE OF settled_ms, settlement ON gate_decision
        WHEN OLD.settled_ms IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'a decision is followed once'); END;

        """

    /// Who owns a job and where it comes from; what it needs of the machine; pauses; the classes of failures; schedules;
    /// what each tenant has used.
    private static let second = """
        ALTER TABLE job ADD COLUMN owner_uid INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE job ADD COLUMN memory_bytes INTEGER CHECK (memory_bytes > 0);
        ALTER TABLE job ADD COLUMN pause_requested_ms INTEGER;
        -- When somebody asked a running job to stop at a checkpoint and queue again, without a charge.
        ALTER TABLE job ADD COLUMN yield_requested_ms INTEGER;
        ALTER TABLE job ADD COLUMN rerun_from TEXT;
        ALTER TABLE job ADD COLUMN schedule_id TEXT;
        UPDATE job SET owner_uid = coalesce(
          (SELECT owner_uid FROM intake WHERE intake.claim_id = job.claim_id),
          (SELECT owner_uid FROM intake ORDER BY received_ms LIMIT 1), 0);

        CREATE INDEX job_finished ON job (finished_ms) WHERE finished_ms IS NOT NULL;

        CREATE TRIGGER job_one_origin BEFORE INSERT ON job
        WHEN (NEW.claim_id IS NOT NULL) + (NEW.retry_of IS NOT NULL) + (NEW.schedule_id IS NOT NULL) <> 1
        BEGIN SELECT RAISE(ABORT, 'a job comes from one claim, one schedule or one job'); END;

        DROP TRIGGER job_transitions;
        CREATE TRIGGER job_transitions BEFORE UPDATE OF state ON job
        WHEN NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN (
          'held>waiting','held>queued','held>cancelled',
          'waiting>queued','waiting>held','waiting>cancelled','waiting>skipped','waiting>failed',
          'queued>held','queued>running','queued>cancelled','queued>skipped','queued>failed',
          'running>succeeded','running>failed','running>cancelled','running>retry_wait','running>queued',
          'running>skipped','running>held',
          'retry_wait>queued','retry_wait>cancelled','retry_wait>failed','retry_wait>held')
        BEGIN SELECT RAISE(ABORT, 'illegal job transition'); END;

        -- Whether a worker is killed without being asked to stop first.
        ALTER TABLE job ADD COLUMN cancel_now INTEGER NOT NULL DEFAULT 0 CHECK (cancel_now IN (0,1));

        -- How often the stage's micro-batch was halved because memory ran out.
        ALTER TABLE stage_run ADD COLUMN memory_halvings INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE attempt ADD COLUMN failure_class TEXT
          CHECK (failure_class IN ('permanent','user','infrastructure','oom','poison'));
        -- What two crashes have in common that are the same crash.
        ALTER TABLE attempt ADD COLUMN signature TEXT;

        -- Threads times seconds that a tenant's jobs have held, in thousandths, halved every week.
        CREATE TABLE usage (
          tenant TEXT PRIMARY KEY, decayed_core_ms REAL NOT NULL DEFAULT 0, at_ms INTEGER NOT NULL DEFAULT 0,
          weight REAL NOT NULL DEFAULT 1 CHECK (weight > 0)
        ) STRICT, WITHOUT ROWID;

        -- What is known of each file in schedules/; the file is the truth.
        CREATE TABLE schedule (
          id           TEXT PRIMARY KEY,
          paused       INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0,1)),
          definition   TEXT NOT NULL,
          defined_ms   INTEGER NOT NULL,
          evaluated_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- The key is what makes an occurrence happen once: its time as the clock on the wall of its zone shows it.
        CREATE TABLE schedule_fire (
          schedule_id TEXT NOT NULL,
          occurrence  TEXT NOT NULL,
          fired_ms    INTEGER NOT NULL,
          job_id      TEXT REFERENCES job(id),
          outcome     TEXT NOT NULL CHECK (outcome IN ('accepted','coalesced','duplicate','missed','rejected','skipped')),
          PRIMARY KEY (schedule_id, occurrence)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX schedule_fire_time ON schedule_fire (schedule_id, fired_ms);
        CREATE INDEX schedule_fire_rejected ON schedule_fire (fired_ms) WHERE outcome = 'rejected';

        """
}
