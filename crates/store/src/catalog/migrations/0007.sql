-- Policies: every version of every level, '' the hub's, else the id of the organisation. Version 0 is not on record: what the
-- program brings, and nothing for an organisation.
CREATE TABLE policies (
    level TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    account TEXT NOT NULL,
    account_name TEXT NOT NULL,
    note TEXT NOT NULL,
    saved_at BIGINT NOT NULL,
    PRIMARY KEY (level, version)
);
-- The version of each level that decides. The row '*' counts changes of policies and overrides together, so that a server
-- learns with one row whether what it remembers still holds.
CREATE TABLE policy_heads (
    level TEXT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO policy_heads (level, version) VALUES ('*', 0);
-- Files that an administrator vouched for: exactly these bytes, in this repository. `expires_at` and `ended_at` are 0 for
-- never.
CREATE TABLE overrides (
    id TEXT PRIMARY KEY,
    repo TEXT NOT NULL,
    digest TEXT NOT NULL,
    path TEXT NOT NULL,
    account TEXT NOT NULL,
    account_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX overrides_by_repo ON overrides (repo, digest);
-- What happened. `body` is a JSON object of the layer above and names the hash of the row before; `hash` is the SHA-256 of
-- `body`; the other columns are copies to search by. Rows are only ever added.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    org TEXT NOT NULL,
    repo TEXT NOT NULL,
    outcome TEXT NOT NULL,
    body TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_by_org ON audit (org, seq);
CREATE TABLE audit_head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (id, seq, hash) VALUES (0, 0, '');
-- What was decided, each question once a day with how often it was asked: what a dry run asks again. `question` is JSON of the
-- layer above and `key` its digest.
CREATE TABLE decisions (
    day BIGINT NOT NULL,
    key TEXT NOT NULL,
    owner TEXT NOT NULL,
    question TEXT NOT NULL,
    allowed BIGINT NOT NULL,
    times BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (day, key)
);
-- Tokens that no person holds.
ALTER TABLE tokens ADD COLUMN automated BIGINT NOT NULL DEFAULT 0
