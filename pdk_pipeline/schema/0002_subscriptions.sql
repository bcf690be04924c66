-- Who wants which report of which project.

CREATE TABLE subscription (
    address TEXT NOT NULL,                                          -- in lower case, as `addresses.clean` makes it
    project TEXT NOT NULL,                                          -- '' is every project without a row of its own
    kind TEXT NOT NULL CHECK (kind IN ('none', 'summary', 'full', 'full-always', 'changes')),
    most_lines INTEGER CHECK (most_lines > 0),                      -- list so many tests; NULL: all
    PRIMARY KEY (address, project)
) STRICT, WITHOUT ROWID;


-- Pandokia's tables, as views. -----------------------------------------------------------------------------

CREATE VIEW user_prefs AS
SELECT DISTINCT address AS username, address AS email FROM subscription;

CREATE VIEW user_email_pref AS
SELECT
    address AS username,
    project,
    CASE kind WHEN 'none' THEN 'n' WHEN 'summary' THEN 's' WHEN 'full' THEN 'f' WHEN 'full-always' THEN 'F' ELSE kind END
        AS format,
    coalesce(most_lines, 0) AS maxlines
FROM subscription;
