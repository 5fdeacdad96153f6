-- Checkpoints in another form, made on demand: one row for each form that was asked for, kept as a cache. `key` is a digest
-- over the tree, the path below it, the options and the version of the program. While `record` and `error` are empty the
-- conversion waits or is under way.
CREATE TABLE conversions (
    repo TEXT NOT NULL,
    key TEXT NOT NULL,
    tree TEXT NOT NULL,
    path TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    name TEXT NOT NULL,
    options TEXT NOT NULL,
    account TEXT NOT NULL,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    record TEXT NOT NULL,
    error TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (repo, key)
);
CREATE INDEX conversions_by_account ON conversions (account);
-- The files of a conversion. Their contents belong to no repository: these rows alone name them, so whoever collects
-- garbage must count each of them as a use of its content, and whoever deletes a row makes its content garbage.
CREATE TABLE conversion_outputs (
    repo TEXT NOT NULL,
    key TEXT NOT NULL,
    number BIGINT NOT NULL,
    path TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (repo, key, number)
);
CREATE INDEX conversion_outputs_by_content ON conversion_outputs (sha256);
-- Comparisons of two checkpoints, kept as a cache. `key` is a digest over both trees, the paths below them and the version of
-- the program; the repositories are those in whose name they were asked for, and where the work finds the files. `document`
-- is JSON of the layer above; while it and `error` are empty the comparison waits or is under way.
CREATE TABLE comparisons (
    key TEXT PRIMARY KEY,
    a_repo TEXT NOT NULL,
    a_commit TEXT NOT NULL,
    a_path TEXT NOT NULL,
    b_repo TEXT NOT NULL,
    b_commit TEXT NOT NULL,
    b_path TEXT NOT NULL,
    account TEXT NOT NULL,
    done_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    document TEXT NOT NULL,
    error TEXT NOT NULL,
    asked_at BIGINT NOT NULL
);
CREATE INDEX comparisons_by_account ON comparisons (account);
