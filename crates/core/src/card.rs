//! What the README of a repository says: the YAML block at its top.
