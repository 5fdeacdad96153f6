-- The quarantine list begins with what is not safe, which is little, and asks who has it.
CREATE INDEX verdicts_by_verdict ON verdicts (verdict, sha256);
CREATE INDEX repo_files_by_content ON repo_files (sha256)
