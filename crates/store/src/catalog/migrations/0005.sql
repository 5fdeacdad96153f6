-- When a repository was given a content last; what was given before this was noted counts as given long ago.
ALTER TABLE repo_contents ADD COLUMN given_at BIGINT NOT NULL DEFAULT 0;
-- When a comparison was looked at last; 0 counts as when it was asked for.
ALTER TABLE comparisons ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX xorb_holders_by_repo ON xorb_holders (repo, xorb);
CREATE INDEX blobs_by_content ON blobs (sha256);

-- History that nothing names: since when. `kind` is commit, tree or blob; `repo` is empty but for commits. Whoever names such
-- a thing again removes its row here before anything else, so that it is not collected.
CREATE TABLE condemned_history (
    kind TEXT NOT NULL,
    repo TEXT NOT NULL,
    oid TEXT NOT NULL,
    condemned_at BIGINT NOT NULL,
    PRIMARY KEY (kind, repo, oid)
);
-- Work that one process at a time may do.
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms BIGINT NOT NULL);
-- What upkeep found when it ran last: one JSON object for each kind of run.
CREATE TABLE upkeep (name TEXT PRIMARY KEY, ran_at BIGINT NOT NULL, facts TEXT NOT NULL);

-- What a repository keeps: one JSON object, written by the layer above.
CREATE TABLE retention (
    repo TEXT PRIMARY KEY,
    rules TEXT NOT NULL,
    account TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    applied_at BIGINT NOT NULL
);
-- Commits, and folders of commits, whose large files are no longer kept but by branches and tags, and the rule that says so.
-- A folder is named by its tree. History itself stays.
CREATE TABLE thinned_commits (
    repo TEXT NOT NULL,
    oid TEXT NOT NULL,
    rule TEXT NOT NULL,
    thinned_at BIGINT NOT NULL,
    PRIMARY KEY (repo, oid)
);

-- When each pack was checked last, and what was wrong with it; empty when nothing was.
CREATE TABLE pack_checks (pack TEXT PRIMARY KEY, checked_at BIGINT NOT NULL, problem TEXT NOT NULL);
CREATE INDEX pack_checks_by_time ON pack_checks (checked_at);
-- Contents that were removed because a rule of retention gave them up: whoever asks for one is told the rule.
CREATE TABLE retired_contents (sha256 TEXT PRIMARY KEY, repo TEXT NOT NULL, rule TEXT NOT NULL, removed_at BIGINT NOT NULL);
