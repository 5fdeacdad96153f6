-- Slow work: one row for each piece, removed when it is done. A row that a worker holds is due again when its lease ends.
CREATE TABLE jobs (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    held BIGINT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX jobs_by_due ON jobs (kind, due_at);

-- What the files of a tree are as a checkpoint: one JSON object, written by the layer above.
CREATE TABLE readings (tree TEXT PRIMARY KEY, version BIGINT NOT NULL, facts TEXT NOT NULL);

-- Where tensors lie: the SHA-256 of a file, or a digest over several files that a tensor is pieced together from.
CREATE TABLE tensor_sources (id BIGINT PRIMARY KEY, digest TEXT NOT NULL UNIQUE);
-- Which repositories have a source, and under which path in which of their commits it was seen last. `page` is the file
-- to look at for the names that were recorded, or empty for the checkpoint as a whole.
CREATE TABLE repo_sources (
    repo TEXT NOT NULL,
    source BIGINT NOT NULL,
    path TEXT NOT NULL,
    page TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    PRIMARY KEY (repo, source)
);
CREATE INDEX repo_sources_by_source ON repo_sources (source);
-- Tensors by place: the place is a digest over dtype, shape and layout, and the hash one over the elements.
CREATE TABLE tensors (
    source BIGINT NOT NULL,
    place TEXT NOT NULL,
    name TEXT NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    file_offset BIGINT NOT NULL,
    hash TEXT NOT NULL,
    statistics TEXT NOT NULL,
    PRIMARY KEY (source, place)
);
CREATE INDEX tensors_by_hash ON tensors (hash);
-- Histograms of tensors: one JSON object for each hash and dtype.
CREATE TABLE tensor_histograms (
    hash TEXT NOT NULL,
    dtype TEXT NOT NULL,
    version BIGINT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (hash, dtype)
);

ALTER TABLE repos ADD COLUMN parameters BIGINT NOT NULL DEFAULT 0;

-- What was committed before there were readers.
INSERT INTO jobs (kind, subject, attempts, due_at, held, error)
    SELECT DISTINCT 'read', repo || ' ' || target, 0, 0, 0, '' FROM refs WHERE name LIKE 'refs/heads/%';
