-- What deleting and cleaning need to know.

ALTER TABLE run ADD COLUMN clean_begun_at REAL;                     -- its rows are going: it cannot come back any more
ALTER TABLE run ADD COLUMN trimmed_to INTEGER NOT NULL DEFAULT 0;   -- log blocks up to this one are without passing logs

CREATE INDEX run_deleted ON run (deleted_at) WHERE deleted_at IS NOT NULL;

-- Whose logs lie in a block: it goes with the last of them. Ids of blocks only grow, so an entry costs an import little.
CREATE INDEX result_block ON result (log_block_id) WHERE log_block_id IS NOT NULL;
