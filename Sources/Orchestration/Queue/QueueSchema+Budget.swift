extension QueueSchema {
    /// What budgets, quiet hours and forecasts remember.
    static let budget = """
        -- When the job is to have ended, from the time of day in its budget; set by its first start.
        ALTER TABLE job ADD COLUMN deadline_ms INTEGER;
        -- How long its attempts have run, by a clock that no setting moves.
        ALTER TABLE job ADD COLUMN worked_ms INTEGER NOT NULL DEFAULT 0 CHECK (worked_ms >= 0);
        -- Floating-point operations of its training, counted from shapes and from the size of its data.
        ALTER TABLE job ADD COLUMN operations REAL;
        ALTER TABLE job ADD COLUMN operations_per_token REAL;
        ALTER TABLE job ADD COLUMN precision_bits INTEGER;

        -- Hours in which nothing runs, as JSON: of the workspace, and of queues that have their own.
        ALTER TABLE daemon ADD COLUMN quiet TEXT;
        ALTER TABLE queue ADD COLUMN quiet TEXT;

        -- How fast trainings have been: of one kind of machine, with so many threads, in a number format of so many
        -- bits, on models of one size, which is the number of times that 4 goes into the operations of a token.
        CREATE TABLE machine_speed (
          machine TEXT NOT NULL, threads INTEGER NOT NULL, bits INTEGER NOT NULL, size INTEGER NOT NULL,
          gigaflops REAL NOT NULL CHECK (gigaflops > 0), runs INTEGER NOT NULL CHECK (runs > 0), at_ms INTEGER NOT NULL,
          PRIMARY KEY (machine, threads, bits, size)
        ) STRICT, WITHOUT ROWID;

        """
}
