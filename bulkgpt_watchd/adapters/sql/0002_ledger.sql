-- When the submit that counts passed its point of no return: its day in the ledger.
ALTER TABLE jobs ADD COLUMN passed_at REAL;

-- What was sent and paid, one line for each UTC day, route and workflow; written with the change of the job that it
-- follows (core/ledger.py), and kept when jobs are pruned.
CREATE TABLE ledger (
    day TEXT NOT NULL, -- 2026-11-24
    route TEXT NOT NULL,
    workflow_id TEXT NOT NULL, -- '' where it is not known
    submitted_files INTEGER NOT NULL,
    submitted_rows INTEGER NOT NULL,
    accepted_files INTEGER NOT NULL,
    accepted_rows INTEGER NOT NULL,
    refused_files INTEGER NOT NULL,
    refused_rows INTEGER NOT NULL,
    doubt_files INTEGER NOT NULL,
    doubt_rows INTEGER NOT NULL,
    delivered_files INTEGER NOT NULL,
    rows_ok INTEGER NOT NULL,
    rows_failed INTEGER NOT NULL,
    PRIMARY KEY (day, route, workflow_id)
) WITHOUT ROWID;

-- What may be pruned, and what stands in the archive.
CREATE INDEX jobs_ended ON jobs (route, ended_at) WHERE state IN ('done', 'failed', 'withdrawn');
CREATE INDEX jobs_archived ON jobs (route, ended_at) WHERE state = 'done' AND archive_path IS NOT NULL;

-- Every submit that the journals tell of, with what became of it.
CREATE TEMP TABLE submits AS
WITH steps AS (
    SELECT
        job,
        revision,
        at,
        event,
        facts,
        lag(event) OVER told AS event_before,
        lead(event) OVER told AS event_after,
        lead(facts) OVER told AS facts_after
    FROM journal
    WINDOW told AS (PARTITION BY job ORDER BY revision)
),

sent AS (
    SELECT
        job,
        revision,
        at,
        json_extract(facts, '$.workflow_id') AS workflow_id,
        CASE
            WHEN event_after IS NULL THEN 'open'
            WHEN event_after = 'accepted' THEN 'accepted'
            WHEN event_after = 'gave_up' THEN json_extract(facts_after, '$.code')
            ELSE 'refused'
        END AS verdict
    FROM steps
    WHERE event = 'passed'
    UNION ALL
    -- Accepted before the last block went; or a sent file that the state did not know of.
    SELECT
        job,
        revision,
        at,
        NULL,
        iif(event = 'accepted', 'accepted', 'submission_unknown')
    FROM steps
    WHERE
        event_before IS NOT 'passed'
        AND (event = 'accepted' OR (event = 'gave_up' AND json_extract(facts, '$.code') = 'submission_unknown'))
),

-- A doubt or a conflict may have been answered by a person since.
answered AS (
    SELECT
        sent.*,
        (
            SELECT iif(json_extract(steps.facts, '$.task_id') IS NULL, 'refused', 'accepted')
            FROM steps
            WHERE steps.job = sent.job AND steps.revision > sent.revision AND steps.event = 'recalled'
            ORDER BY steps.revision
            LIMIT 1
        ) AS answer
    FROM sent
)

SELECT
    answered.job,
    answered.at,
    jobs.route,
    coalesce(answered.workflow_id, jobs.workflow_id, '') AS workflow_id,
    coalesce(jobs.rows, 0) AS rows,
    CASE
        WHEN verdict = 'submission_unknown' THEN coalesce(answer, 'doubt')
        WHEN verdict = 'task_id_conflict' THEN coalesce(answer, 'accepted')
        WHEN verdict IN ('accepted', 'open') THEN verdict
        ELSE 'refused'
    END AS became
FROM answered
INNER JOIN jobs ON jobs.number = answered.job;

UPDATE jobs SET passed_at = (SELECT max(submits.at) FROM submits WHERE submits.job = jobs.number);
UPDATE jobs SET passed_at = submitted_at WHERE passed_at IS NULL;

INSERT INTO ledger
SELECT
    date(at, 'unixepoch'),
    route,
    workflow_id,
    count(*),
    sum(rows),
    sum(became = 'accepted'),
    sum(iif(became = 'accepted', rows, 0)),
    sum(became = 'refused'),
    sum(iif(became = 'refused', rows, 0)),
    sum(became = 'doubt'),
    sum(iif(became = 'doubt', rows, 0)),
    0,
    0,
    0
FROM submits
GROUP BY 1, 2, 3;

DROP TABLE submits;

-- What was delivered of each job's last submit.
INSERT INTO ledger
SELECT
    date(passed_at, 'unixepoch'),
    route,
    coalesce(workflow_id, ''),
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    count(*),
    sum(coalesce(rows_ok, rows_out, 0)),
    sum(iif(rows_ok IS NULL OR completed_at IS NULL, 0, max(coalesce(rows_total, rows, rows_ok) - rows_ok, 0)))
FROM jobs
WHERE delivered_at >= passed_at
GROUP BY 1, 2, 3
ON CONFLICT DO UPDATE SET
    delivered_files = excluded.delivered_files,
    rows_ok = excluded.rows_ok,
    rows_failed = excluded.rows_failed;
