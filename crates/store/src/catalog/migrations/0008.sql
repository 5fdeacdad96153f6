-- Where advisories come from. A feed owns its advisories: taken in again, it replaces them all. `repo` is the repository of
-- this hub that it is read from, or empty.
CREATE TABLE advisory_feeds (
    name TEXT PRIMARY KEY,
    place TEXT NOT NULL,
    repo TEXT NOT NULL,
    digest TEXT NOT NULL,
    advisories BIGINT NOT NULL,
    imported_at BIGINT NOT NULL
);
-- One JSON object each, of the schema weighthouse.advisory/1.
CREATE TABLE advisories (id TEXT PRIMARY KEY, feed TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX advisories_by_feed ON advisories (feed);
-- Which commits an advisory concerns; `evidence` is JSON of the layer above.
CREATE TABLE advisory_matches (
    repo TEXT NOT NULL,
    commit_oid TEXT NOT NULL,
    advisory TEXT NOT NULL,
    severity TEXT NOT NULL,
    evidence TEXT NOT NULL,
    found_at BIGINT NOT NULL,
    PRIMARY KEY (repo, commit_oid, advisory)
);
CREATE INDEX advisory_matches_by_advisory ON advisory_matches (advisory);
-- What owners are told, once for each repository and advisory; `seen_at` is 0 until one of them has taken note.
CREATE TABLE advisory_notices (
    repo TEXT NOT NULL,
    advisory TEXT NOT NULL,
    noticed_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (repo, advisory)
);
