-- One row for each dropped file: one column for every field of core.job.Job, in any order.
-- Names and paths are bytes (BLOB), because the kernel's names need not be UTF-8; tuples are JSON, empty ones NULL.
-- inode and mtime_ns are only compared, and may pass 64 bits signed: so decimal TEXT.
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, -- order of arrival; keeps a job's journal lines next to those of its neighbours in time
    id TEXT NOT NULL UNIQUE,
    route TEXT NOT NULL,
    file BLOB NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    due_at REAL,
    inbox BLOB NOT NULL,
    work BLOB NOT NULL,
    inode TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    bad_results INTEGER NOT NULL,
    sha256 TEXT,
    rows INTEGER,
    workflow_id TEXT,
    task_id TEXT,
    earlier_task_ids TEXT,
    rows_done INTEGER,
    rows_ok INTEGER,
    rows_total INTEGER,
    submitted_at REAL,
    completed_at REAL,
    asked_at REAL,
    patience_s REAL NOT NULL,
    unknown_s REAL NOT NULL,
    result_path BLOB,
    result_sha256 TEXT,
    result_bytes INTEGER,
    rows_out INTEGER,
    delivered_at REAL,
    archive_path BLOB,
    code TEXT,
    message TEXT,
    line INTEGER,
    http_status INTEGER,
    api_message TEXT,
    error_path BLOB,
    ended_at REAL,
    waits_for TEXT,
    related_job TEXT,
    superseded_by TEXT,
    is_closed INTEGER NOT NULL,
    may_pay_again INTEGER NOT NULL,
    takes_partial INTEGER NOT NULL
);

-- What is due, in order; finished rows are not in it and cost nothing.
CREATE INDEX jobs_due ON jobs (state, route, due_at) WHERE due_at IS NOT NULL;
-- What is outstanding, and lists of one state.
CREATE INDEX jobs_state ON jobs (state);
-- Who holds a task ID, now or earlier.
CREATE INDEX jobs_task ON jobs (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX jobs_earlier ON jobs (earlier_task_ids) WHERE earlier_task_ids IS NOT NULL;
-- Twins: the same bytes, or failed under the same name.
CREATE INDEX jobs_bytes ON jobs (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (route, file) WHERE state = 'failed';

-- Counted as it changes: counting 300,000 finished rows took 150 ms, and 20 ms from an index.
CREATE TABLE counts (
    route TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (route, state)
) WITHOUT ROWID;

CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO counts VALUES (new.route, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_counted_over AFTER UPDATE OF route, state ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE route = old.route AND state = old.state;
    INSERT INTO counts VALUES (new.route, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
    UPDATE counts SET jobs = jobs - 1 WHERE route = old.route AND state = old.state;
END;

-- A job's history. Clustered by job: with an index on random IDs instead, 300,000 jobs made every save 2.6 times slower.
CREATE TABLE journal (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    revision INTEGER NOT NULL, -- the one that the event made
    at REAL NOT NULL,
    event TEXT NOT NULL,
    facts TEXT NOT NULL, -- JSON
    PRIMARY KEY (job, revision)
) WITHOUT ROWID;

-- What else survives a restart: gate, pauses, the last look at each inbox.
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; -- JSON

-- What people did.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    by TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL
);

-- One row: who this state is. Markers in work folders hold the same UUID.
CREATE TABLE meta (uuid TEXT NOT NULL, created_at REAL NOT NULL);
