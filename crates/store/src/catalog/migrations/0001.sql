-- Times are milliseconds since 1970, digests and hashes are lower-case text, booleans are 0 or 1.
-- {bytes} is BLOB on SQLite and BYTEA on PostgreSQL: the one word that differs.

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

-- Users and organisations share one space of names.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    fullname TEXT NOT NULL,
    email TEXT,
    admin BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE members (
    org TEXT NOT NULL,
    account TEXT NOT NULL,
    role TEXT NOT NULL,
    PRIMARY KEY (org, account)
);
CREATE INDEX members_by_account ON members (account);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    limited BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE TABLE token_repos (token TEXT NOT NULL, repo TEXT NOT NULL, PRIMARY KEY (token, repo));

CREATE TABLE repos (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    folded TEXT NOT NULL,
    owner TEXT NOT NULL,
    private BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (kind, folded)
);
CREATE INDEX repos_by_owner ON repos (owner);
-- Earlier ids of a moved repository.
CREATE TABLE redirects (kind TEXT NOT NULL, folded TEXT NOT NULL, repo TEXT NOT NULL, PRIMARY KEY (kind, folded));
CREATE TABLE repo_tags (repo TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (repo, tag));
CREATE INDEX repo_tags_by_tag ON repo_tags (tag);

CREATE TABLE refs (repo TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (repo, name));
CREATE TABLE commits (
    repo TEXT NOT NULL,
    oid TEXT NOT NULL,
    data {bytes} NOT NULL,
    PRIMARY KEY (repo, oid)
);
-- Commit requests already carried out, so that a repeated one gets the same answer.
CREATE TABLE requests (
    repo TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repo, fingerprint)
);
CREATE TABLE trees (oid TEXT PRIMARY KEY, data {bytes} NOT NULL);

-- What a git blob stands for: its own bytes, or those its LFS pointer names.
CREATE TABLE blobs (oid TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size BIGINT NOT NULL, lfs BIGINT NOT NULL);

-- A file's bytes, verified; `terms` says which chunks of which xorbs they are.
CREATE TABLE contents (
    sha256 TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    file_hash TEXT NOT NULL,
    terms {bytes} NOT NULL
);
CREATE INDEX contents_by_file_hash ON contents (file_hash);
-- Which repositories have been given which content.
CREATE TABLE repo_contents (repo TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (repo, sha256));
CREATE INDEX repo_contents_by_content ON repo_contents (sha256);

-- A pack is listed here before its first byte is written and marked sealed when it is complete.
CREATE TABLE packs (id TEXT PRIMARY KEY, sealed BIGINT NOT NULL, size BIGINT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE xorbs (
    hash TEXT PRIMARY KEY,
    pack TEXT NOT NULL,
    body_offset BIGINT NOT NULL,
    body_len BIGINT NOT NULL,
    index_offset BIGINT NOT NULL,
    index_len BIGINT NOT NULL,
    raw_len BIGINT NOT NULL,
    chunks BIGINT NOT NULL
);
-- Who has shown to hold a xorb's bytes, and for which repository.
CREATE TABLE xorb_holders (
    xorb TEXT NOT NULL,
    repo TEXT NOT NULL,
    account TEXT NOT NULL,
    PRIMARY KEY (xorb, repo, account)
);
-- Chunks by which duplicates are found: about one in 1,024, and the first of each xorb and file.
CREATE TABLE dedup_chunks (chunk TEXT NOT NULL, xorb TEXT NOT NULL, PRIMARY KEY (chunk, xorb));
CREATE INDEX dedup_chunks_by_xorb ON dedup_chunks (xorb);

-- Xorbs that follow each other in some file: an answer about one may mention the next.
CREATE TABLE xorb_successors (xorb TEXT NOT NULL, next TEXT NOT NULL, PRIMARY KEY (xorb, next));

-- Git LFS multipart uploads under way.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repo TEXT NOT NULL,
    account TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    part_size BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
