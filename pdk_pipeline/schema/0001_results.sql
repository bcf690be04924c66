-- Results, the logs they came from, and what was expected.
--
-- Names repeat every night, so they are stored once; a result row is small integers, a status and times.
-- Views at the end carry the names and columns of Pandokia's tables.

CREATE TABLE run (
    -- AUTOINCREMENT here and below: an id that is used again would hand a deleted run's rows to a new run.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL CHECK (name <> ''),                          -- e.g. daily_2026-11-23
    valuable INTEGER NOT NULL DEFAULT 0 CHECK (valuable IN (0, 1)), -- 1: is never deleted
    note TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,                                       -- first import; seconds since 1970, UTC
    deleted_at REAL                                                 -- when it was deleted; its rows go later
) STRICT;

-- A run may be deleted and imported again under the same name before the old rows are gone.
CREATE UNIQUE INDEX run_name ON run (name) WHERE deleted_at IS NULL;

CREATE TABLE test (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL CHECK (project <> ''),
    name TEXT NOT NULL CHECK (name <> ''),                          -- hierarchical, /-separated, cleaned
    UNIQUE (name, project)                                          -- name first: tests are looked up by name alone
) STRICT;

CREATE TABLE environment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL CHECK (host <> ''),
    context TEXT NOT NULL CHECK (context <> ''),
    custom TEXT NOT NULL,
    UNIQUE (host, context, custom)
) STRICT;

CREATE TABLE import_file (                                          -- the ledger: every log taken in
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery TEXT NOT NULL UNIQUE,                                  -- the same delivery again changes nothing
    name TEXT NOT NULL,                                             -- path as it was given
    sender TEXT NOT NULL,                                           -- host or user that handed it over
    format TEXT NOT NULL,
    sha256 TEXT NOT NULL,                                           -- of the file as it lay there, compressed or not
    size INTEGER NOT NULL,                                          -- bytes, likewise
    imported_at REAL NOT NULL,                                      -- seconds since 1970, UTC
    seconds REAL NOT NULL,                                          -- how long it took
    records INTEGER NOT NULL,                                       -- = accepted + duplicates + skipped + quarantined
    accepted INTEGER NOT NULL,
    replaced_missing INTEGER NOT NULL,                              -- of those accepted: took the place of an M
    replaced INTEGER NOT NULL,                                      -- of the duplicates: replaced what was there
    duplicates INTEGER NOT NULL,
    skipped INTEGER NOT NULL,                                       -- by rule not tests
    quarantined INTEGER NOT NULL,
    warnings INTEGER NOT NULL,
    outcome TEXT NOT NULL                                           -- JSON: all that the import reported
) STRICT;

CREATE INDEX import_file_sha256 ON import_file (sha256);

CREATE TABLE import_attempt (                                       -- deliveries begun and not ended
    delivery TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL,                                      -- a log that kills its import is given up
    last_at REAL NOT NULL,                                          -- seconds since 1970, UTC
    failure TEXT NOT NULL DEFAULT ''                                -- how the last one ended; '': it was killed
) STRICT, WITHOUT ROWID;

CREATE TABLE log_block (                                            -- logs of one import, packed together
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL REFERENCES run,
    data BLOB NOT NULL                                              -- zstd; dotted lines as in a PDK log
) STRICT;

CREATE INDEX log_block_run ON log_block (run_id);

CREATE TABLE result (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL REFERENCES run,
    environment_id INTEGER NOT NULL REFERENCES environment,
    test_id INTEGER NOT NULL REFERENCES test,
    status TEXT NOT NULL,                                           -- P F E D M, or a site's own lower-case letter
    attn TEXT NOT NULL,                                             -- Y needs attention, N does not, R resolved
    start_time REAL,                                                -- seconds since 1970, UTC
    end_time REAL,
    test_runner TEXT,                                               -- NULL here and below: none
    location TEXT,
    tda TEXT,                                                       -- JSON object of the definition attributes
    tra TEXT,                                                       -- JSON object of the result attributes
    log_block_id INTEGER,                                           -- where its log lies (log_block) …
    log_start INTEGER,                                              -- … from which byte of the unpacked block
    log_length INTEGER,                                             -- … how many bytes
    import_id INTEGER,                                              -- import_file it came from; NULL: recorded missing
    UNIQUE (run_id, environment_id, test_id)
) STRICT;

-- The history of one test.
CREATE INDEX result_history ON result (test_id, environment_id, run_id);

-- What did not pass, by run: the counts and the morning's questions. Few rows, since most tests pass.
CREATE INDEX result_problem ON result (run_id, status, environment_id, test_id) WHERE status <> 'P';

CREATE TABLE expectation (                                          -- which tests a class of runs should report
    class TEXT NOT NULL CHECK (class <> ''),                        -- e.g. daily
    environment_id INTEGER NOT NULL REFERENCES environment,
    test_id INTEGER NOT NULL REFERENCES test,
    since REAL NOT NULL,                                            -- seconds since 1970, UTC
    learned_from TEXT,                                              -- name of the run; NULL: put in by hand
    PRIMARY KEY (class, environment_id, test_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE contact_rule (                                         -- who is told about a test
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL,
    prefix TEXT NOT NULL,                                           -- of the test name; '' is the whole project
    address TEXT NOT NULL,
    UNIQUE (project, prefix, address)
) STRICT;

-- The sqlite3 shell, in which people write too, does not hold foreign keys: these two it can hardly do without.
CREATE TRIGGER run_is_in_use BEFORE DELETE ON run
WHEN EXISTS (SELECT 1 FROM result WHERE run_id = OLD.id) OR EXISTS (SELECT 1 FROM log_block WHERE run_id = OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'the run has results: `pdk delete_run` deletes it');
END;

CREATE TRIGGER test_is_in_use BEFORE DELETE ON test
WHEN EXISTS (SELECT 1 FROM result WHERE test_id = OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'there are results of the test');
END;


-- Pandokia's tables, as views. -----------------------------------------------------------------------------

CREATE VIEW result_scalar AS
SELECT
    result.id AS key_id,
    run.name AS test_run,
    test.project AS project,
    environment.context AS context,
    environment.custom AS custom,
    test.name AS test_name,
    environment.host AS host,
    result.status AS status,
    coalesce(result.test_runner, '') AS test_runner,
    coalesce(strftime('%Y-%m-%d %H:%M:%f', result.start_time, 'unixepoch', 'localtime'), '') AS start_time,
    coalesce(strftime('%Y-%m-%d %H:%M:%f', result.end_time, 'unixepoch', 'localtime'), '') AS end_time,
    coalesce(result.location, '') AS location,
    result.attn AS attn,
    CASE WHEN json_type(result.tda, '$._okfile') IS NULL THEN 'F' ELSE 'T' END AS has_okfile
FROM result
JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
JOIN test ON test.id = result.test_id
JOIN environment ON environment.id = result.environment_id;

CREATE VIEW result_tda AS
SELECT result.id AS key_id, attribute.key AS name, attribute.value AS value
FROM result
JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
JOIN json_each(result.tda) AS attribute;

CREATE VIEW result_tra AS
SELECT result.id AS key_id, attribute.key AS name, attribute.value AS value
FROM result
JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
JOIN json_each(result.tra) AS attribute;

-- pdk_log() is a function that pdk's own connections have; the sqlite3 shell has it not (`pdk show` has the log).
CREATE VIEW result_log AS
SELECT
    result.id AS key_id,
    coalesce(pdk_log(log_block.id, log_block.data, result.log_start, result.log_length), '') AS log
FROM result
JOIN run ON run.id = result.run_id AND run.deleted_at IS NULL
LEFT JOIN log_block ON log_block.id = result.log_block_id;

CREATE VIEW distinct_test_run AS
SELECT
    run.name AS test_run,
    CAST(run.valuable AS TEXT) AS valuable,
    (SELECT count(*) FROM result WHERE result.run_id = run.id) AS record_count,
    run.note AS note
FROM run
WHERE run.deleted_at IS NULL;

CREATE TRIGGER distinct_test_run_update INSTEAD OF UPDATE OF valuable, note ON distinct_test_run
BEGIN
    SELECT RAISE(ABORT, 'valuable is 0 or 1') WHERE NEW.valuable IS NULL OR NEW.valuable NOT IN ('0', '1');
    UPDATE run SET valuable = CAST(NEW.valuable AS INTEGER), note = coalesce(NEW.note, '')
    WHERE name = OLD.test_run AND deleted_at IS NULL;
END;

CREATE VIEW expected AS
SELECT
    expectation.class AS test_run_type,
    test.project AS project,
    environment.host AS host,
    test.name AS test_name,
    environment.context AS context,
    environment.custom AS custom
FROM expectation
JOIN test ON test.id = expectation.test_id
JOIN environment ON environment.id = expectation.environment_id;

-- Columns that the INSERT leaves out, or has empty, get the log format's defaults.
CREATE TRIGGER expected_insert INSTEAD OF INSERT ON expected
BEGIN
    SELECT RAISE(ABORT, 'no test has such a name: blanks are _ in it, and no / or . is in front')
    WHERE NEW.test_name GLOB '[/.]*' OR NEW.test_name GLOB '*//*'
    OR NEW.test_name GLOB '*[ ' || char(9) || char(10) || ']*';
    INSERT INTO test (project, name) VALUES (NEW.project, NEW.test_name) ON CONFLICT DO NOTHING;
    INSERT INTO environment (host, context, custom)
    VALUES (
        coalesce(nullif(NEW.host, ''), 'unknown'),
        coalesce(nullif(NEW.context, ''), 'default'),
        coalesce(NEW.custom, '')
    )
    ON CONFLICT DO NOTHING;
    INSERT INTO expectation (class, environment_id, test_id, since)
    SELECT NEW.test_run_type, environment.id, test.id, (julianday('now') - 2440587.5) * 86400.0
    FROM test, environment
    WHERE test.project = NEW.project
    AND test.name = NEW.test_name
    AND environment.host = coalesce(nullif(NEW.host, ''), 'unknown')
    AND environment.context = coalesce(nullif(NEW.context, ''), 'default')
    AND environment.custom = coalesce(NEW.custom, '')
    ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER expected_delete INSTEAD OF DELETE ON expected
BEGIN
    DELETE FROM expectation
    WHERE class = OLD.test_run_type
    AND test_id = (SELECT id FROM test WHERE project = OLD.project AND name = OLD.test_name)
    AND environment_id = (
        SELECT id FROM environment
        WHERE host = OLD.host AND context = OLD.context AND custom = OLD.custom
    );
END;

CREATE VIEW contact AS
SELECT project, prefix AS test_name, address AS email FROM contact_rule;

CREATE TRIGGER contact_insert INSTEAD OF INSERT ON contact
BEGIN
    INSERT INTO contact_rule (project, prefix, address)
    VALUES (NEW.project, coalesce(NEW.test_name, ''), NEW.email) ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER contact_delete INSTEAD OF DELETE ON contact
BEGIN
    DELETE FROM contact_rule WHERE project = OLD.project AND prefix = OLD.test_name AND address = OLD.email;
END;
