extension QueueSchema {
    /// What choosing the next job costs little by: every question of the scheduler is a walk down one of these indexes,
    /// whatever the number of jobs that wait or have ended.
    ///
    /// Part of the second schema. The columns that triggers keep (`open_needs`, `unmet_needs`, `leads`, `job_count`)
    /// are written by nobody else.
    static let scheduling = """
        -- Since when it could have run, but for others. Null as long as a person, a time or another job keeps it.
        ALTER TABLE job ADD COLUMN eligible_ms INTEGER;
        -- Its place among the jobs of its tenant and queue, smallest first: an hour of waiting is worth a point of
        -- priority. As all wait equally fast, the order between two jobs never changes, and an index can hold it.
        ALTER TABLE job ADD COLUMN rank_ms INTEGER
          GENERATED ALWAYS AS (coalesce(eligible_ms, created_ms) - priority * 3600000) VIRTUAL;
        -- Jobs it comes after that have not ended, and those that ended otherwise than it asks for.
        ALTER TABLE job ADD COLUMN open_needs INTEGER NOT NULL DEFAULT 0 CHECK (open_needs >= 0);
        ALTER TABLE job ADD COLUMN unmet_needs INTEGER NOT NULL DEFAULT 0 CHECK (unmet_needs >= 0);
        -- Whether it is queued and its concurrency key is free for it: of its queue, the one of its key that goes next.
        ALTER TABLE job ADD COLUMN leads INTEGER NOT NULL DEFAULT 0 CHECK (leads IN (0,1));

        -- What the daemon may give to jobs, beside its threads (`cores`); null is without a limit.
        ALTER TABLE daemon ADD COLUMN memory_bytes INTEGER;
        -- Points for all jobs of the queue, and a limit that a person has set in place of the settings' one.
        ALTER TABLE queue ADD COLUMN priority INTEGER NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100);
        ALTER TABLE queue ADD COLUMN set_max_jobs INTEGER CHECK (set_max_jobs >= 1);

        CREATE TABLE job_count (state TEXT PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0)) STRICT, WITHOUT ROWID;
        INSERT INTO job_count SELECT state, count(*) FROM job GROUP BY state;

        UPDATE job SET unique_key = id WHERE unique_key IS NULL;
        UPDATE job SET eligible_ms = created_ms WHERE state IN ('queued','running','retry_wait');
        UPDATE job SET open_needs = \(openNeeds), unmet_needs = \(unmetNeeds) WHERE finished_ms IS NULL;
        UPDATE job SET leads = 1 WHERE state = 'queued' AND id IN (\(leaders("job")));

        DROP INDEX job_pick;
        DROP INDEX job_one_equal_pending;
        CREATE UNIQUE INDEX job_one_equal_pending ON job (tenant, unique_key, spec_sha256, owner_uid)
          WHERE unique_key IS NOT NULL AND on_conflict = 'coalesce' AND started_ms IS NULL AND finished_ms IS NULL;
        CREATE INDEX job_pick ON job (queue, tenant, rank_ms, seq) WHERE state = 'queued' AND leads = 1;
        CREATE INDEX job_leads ON job (tenant, unique_key) WHERE leads = 1;
        CREATE INDEX job_key_order ON job (tenant, unique_key, queue, rank_ms, seq) WHERE state = 'queued';
        CREATE INDEX job_key_pending ON job (tenant, unique_key, seq) WHERE finished_ms IS NULL;
        CREATE INDEX job_running ON job (queue, threads, memory_bytes) WHERE state = 'running';
        CREATE INDEX job_due ON job (not_before_ms) WHERE state = 'waiting' AND open_needs = 0 AND unmet_needs = 0;
        CREATE INDEX job_doomed ON job (seq) WHERE state = 'waiting' AND unmet_needs > 0;
        CREATE INDEX job_retry_due ON job (not_before_ms) WHERE state = 'retry_wait';
        CREATE INDEX job_measured ON job (tenant, spec_sha256, finished_ms) WHERE state = 'succeeded';

        CREATE TRIGGER job_counted_new AFTER INSERT ON job BEGIN
          INSERT INTO job_count VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
        END;
        CREATE TRIGGER job_counted AFTER UPDATE OF state ON job WHEN NEW.state <> OLD.state BEGIN
          UPDATE job_count SET n = n - 1 WHERE state = OLD.state;
          INSERT INTO job_count VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
        END;
        CREATE TRIGGER job_counted_gone AFTER DELETE ON job BEGIN
          UPDATE job_count SET n = n - 1 WHERE state = OLD.state;
        END;

        CREATE TRIGGER job_leads_new AFTER INSERT ON job WHEN NEW.state = 'queued' BEGIN \(chooseLeaders) END;
        CREATE TRIGGER job_leads_changed AFTER UPDATE OF state, priority, eligible_ms ON job BEGIN \(chooseLeaders) END;

        CREATE TRIGGER job_begins BEFORE INSERT ON job
        WHEN NEW.state NOT IN ('held','waiting','queued') OR NEW.unique_key IS NULL
        BEGIN SELECT RAISE(ABORT, 'a job begins held, waiting or queued, and with a concurrency key'); END;

        CREATE TRIGGER job_ends_once BEFORE UPDATE OF state, finished_ms ON job
        WHEN OLD.finished_ms IS NOT NULL AND (NEW.state <> OLD.state OR NEW.finished_ms IS NOT OLD.finished_ms)
        BEGIN SELECT RAISE(ABORT, 'job already final'); END;

        CREATE TRIGGER job_needs_first BEFORE UPDATE OF state ON job
        WHEN NEW.state IN ('queued','running') AND (NEW.open_needs > 0 OR NEW.unmet_needs > 0)
        BEGIN SELECT RAISE(ABORT, 'a job it comes after has not ended as asked'); END;

        DROP TRIGGER job_specification_once;
        CREATE TRIGGER job_specification_once
        BEFORE UPDATE OF spec, spec_sha256, claim_id, schedule_id, retry_of, owner_uid, tenant, unique_key, on_conflict,
          idempotency_key, seq, created_ms ON job
        BEGIN SELECT RAISE(ABORT, 'a job keeps its specification'); END;

        CREATE TRIGGER job_dep_new BEFORE INSERT ON job_dep
        WHEN (SELECT state FROM job WHERE id = NEW.job_id) NOT IN ('held','waiting')
          OR (SELECT tenant FROM job WHERE id = NEW.job_id) <> (SELECT tenant FROM job WHERE id = NEW.needs)
          OR (SELECT seq FROM job WHERE id = NEW.job_id) <= (SELECT seq FROM job WHERE id = NEW.needs)
        BEGIN SELECT RAISE(ABORT, 'a job that waits comes after earlier jobs of its tenant'); END;
        CREATE TRIGGER job_dep_kept BEFORE UPDATE ON job_dep
        BEGIN SELECT RAISE(ABORT, 'what a job comes after is fixed'); END;
        CREATE TRIGGER job_dep_counted AFTER INSERT ON job_dep BEGIN
          UPDATE job SET
            open_needs = open_needs + ((SELECT finished_ms FROM job WHERE id = NEW.needs) IS NULL),
            unmet_needs = unmet_needs + coalesce((SELECT n.finished_ms IS NOT NULL AND
              (NEW.cond = 'ok' AND n.state <> 'succeeded' OR NEW.cond = 'notok' AND n.state = 'succeeded')
              FROM job AS n WHERE n.id = NEW.needs), 0)
          WHERE id = NEW.job_id;
        END;
        CREATE TRIGGER job_dep_settled AFTER UPDATE OF state ON job
        WHEN NEW.finished_ms IS NOT NULL AND OLD.finished_ms IS NULL BEGIN
          UPDATE job SET
            open_needs = open_needs - 1,
            unmet_needs = unmet_needs + (SELECT d.cond = 'ok' AND NEW.state <> 'succeeded'
              OR d.cond = 'notok' AND NEW.state = 'succeeded'
              FROM job_dep AS d WHERE d.job_id = job.id AND d.needs = NEW.id)
          WHERE finished_ms IS NULL AND id IN (SELECT job_id FROM job_dep WHERE needs = NEW.id);
        END;

        """

    /// How many jobs that the one in `job` comes after have not ended.
    static let openNeeds = """
        (SELECT count(*) FROM job_dep AS d JOIN job AS n ON n.id = d.needs
         WHERE d.job_id = job.id AND n.finished_ms IS NULL)
        """

    /// How many of them have ended otherwise than it asks for.
    static let unmetNeeds = """
        (SELECT count(*) FROM job_dep AS d JOIN job AS n ON n.id = d.needs
         WHERE d.job_id = job.id AND n.finished_ms IS NOT NULL
           AND (d.cond = 'ok' AND n.state <> 'succeeded' OR d.cond = 'notok' AND n.state = 'succeeded'))
        """

    /// Writes anew, from the jobs alone, what triggers keep.
    static let recount = """
        DELETE FROM job_count;
        INSERT INTO job_count SELECT state, count(*) FROM job GROUP BY state;
        UPDATE job SET open_needs = \(openNeeds), unmet_needs = \(unmetNeeds) WHERE finished_ms IS NULL;
        UPDATE job SET leads = 0 WHERE leads = 1;
        UPDATE job SET leads = 1 WHERE state = 'queued' AND id IN (\(leaders("job")));
        """

    /// The jobs that the concurrency key of `row` is free for: the one that has started and not ended, else the first
    /// that is queued in each queue, as one queue may be paused and another not.
    static func leaders(_ row: String) -> String {
        let active = """
            SELECT a.id FROM job AS a WHERE a.tenant = \(row).tenant AND a.unique_key = \(row).unique_key
              AND a.unique_key IS NOT NULL AND a.started_ms IS NOT NULL AND a.finished_ms IS NULL
            """
        return """
            \(active)
            UNION ALL
            SELECT (SELECT q.id FROM job AS q WHERE q.tenant = \(row).tenant AND q.unique_key = \(row).unique_key
                      AND q.queue = w.name AND q.state = 'queued' ORDER BY q.rank_ms, q.seq LIMIT 1)
            FROM queue AS w WHERE NOT EXISTS (\(active))
            """
    }

    private static let chooseLeaders = """
        UPDATE job SET leads = 0 WHERE tenant = NEW.tenant AND unique_key = NEW.unique_key AND leads = 1;
        UPDATE job SET leads = 1 WHERE +state = 'queued' AND id IN (\(leaders("NEW")));
        """
}
