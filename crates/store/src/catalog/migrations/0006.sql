-- What the scanner says of a file: of a content under a path, since a name changes how bytes are taken. `surroundings` is
-- empty when only the file itself was looked at, and the tree of the whole revision when files beside it were. `rules` and
-- `scanner` are versions; a verdict of older rules is shown until it is made anew. `facts` and `report` are JSON of the layer
-- above, the report the whole of it, empty when it says no more than the facts.
CREATE TABLE verdicts (
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,
    surroundings TEXT NOT NULL,
    verdict TEXT NOT NULL,
    rules BIGINT NOT NULL,
    scanner TEXT NOT NULL,
    judged_at BIGINT NOT NULL,
    facts TEXT NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (sha256, path, surroundings)
);
-- Under which paths a repository has had a content, for roads that name contents only. `surroundings` is that of the verdict,
-- or `-` while the content waits under this path.
CREATE TABLE repo_files (
    repo TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    path TEXT NOT NULL,
    surroundings TEXT NOT NULL,
    PRIMARY KEY (repo, sha256, path)
);
-- The verdict on all files of a tree, when all were judged: JSON of the layer above.
CREATE TABLE tree_verdicts (tree TEXT PRIMARY KEY, rules BIGINT NOT NULL, facts TEXT NOT NULL);
