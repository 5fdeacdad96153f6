-- A xorb's bytes lie in its pack in a form: 0, the chunk records as they arrived; 1, blocks of tensors, coded. `depth` says
-- how many other contents must be read before its own bytes: 0 none; 1 contents of depth 0; 2 runs that are the same in a
-- content of depth 1. `encoder` is the version of the encoder that looked at it last, 0 when none did. `condemned_at` is when
-- it was found that nothing names it; 0 while something does.
ALTER TABLE xorbs ADD COLUMN form BIGINT NOT NULL DEFAULT 0;
ALTER TABLE xorbs ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
ALTER TABLE xorbs ADD COLUMN encoder BIGINT NOT NULL DEFAULT 0;
ALTER TABLE xorbs ADD COLUMN condemned_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX xorbs_by_pack ON xorbs (pack);
ALTER TABLE contents ADD COLUMN condemned_at BIGINT NOT NULL DEFAULT 0;
-- When the last of its xorbs moved to another pack; 0 while it is in use.
ALTER TABLE packs ADD COLUMN retired_at BIGINT NOT NULL DEFAULT 0;

-- Where xorbs lay before they were coded anew: for clients that were told so, until their packs are removed.
CREATE TABLE former_xorbs (
    hash TEXT NOT NULL,
    pack TEXT NOT NULL,
    body_offset BIGINT NOT NULL,
    body_len BIGINT NOT NULL,
    index_offset BIGINT NOT NULL,
    index_len BIGINT NOT NULL,
    raw_len BIGINT NOT NULL,
    chunks BIGINT NOT NULL,
    form BIGINT NOT NULL,
    retired_at BIGINT NOT NULL,
    PRIMARY KEY (hash, pack)
);
CREATE INDEX former_xorbs_by_pack ON former_xorbs (pack);
-- What a coded xorb is made of: raw and stored bytes by codec and base. `base` is the SHA-256 of the content that blocks need
-- to be decoded, or empty: a content that is named here must stay.
CREATE TABLE xorb_makeup (
    xorb TEXT NOT NULL,
    codec TEXT NOT NULL,
    base TEXT NOT NULL,
    raw BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    PRIMARY KEY (xorb, codec, base)
);
CREATE INDEX xorb_makeup_by_base ON xorb_makeup (base);
-- The xorbs of each content that is a base: while they are listed here, they may not come to need more than they do.
CREATE TABLE base_xorbs (base TEXT NOT NULL, xorb TEXT NOT NULL, PRIMARY KEY (base, xorb));
CREATE INDEX base_xorbs_by_xorb ON base_xorbs (xorb);
-- Tensors of one shape are candidates for each other's base.
CREATE INDEX tensors_by_shape ON tensors (shape);
