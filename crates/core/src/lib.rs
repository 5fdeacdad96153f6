//! The hub for AI checkpoints as a library: one function for each thing a person or a program can ask of it.
//!
//! ```text
//!   server, pages, cli ──► Hub ── access     who is calling, what may they do
//!                            ├── repos       create, delete, move, list
//!                            ├── revision    branches, tags, commits
//!                            ├── browse      folders, paths, history
//!                            ├── commit      files in, one commit out
//!                            ├── upload      Git LFS objects
//!                            ├── xet         xorbs, shards, reconstructions
//!                            ├── checkpoints what is inside: tensors, values, architecture
//!                            ├── conversions checkpoints in other forms, made on demand
//!                            ├── comparisons what changed between two revisions
//!                            └── card        what a README and a config say
//!   files of any place ──┬─► inspect   what is in a checkpoint
//!                        ├─► diff      what changed between two
//!                        └─► convert   the same in another form, written durably
//! ```
//! Nothing here knows HTTP, JSON shapes of the wire, or the terminal; nothing here writes data but through the store.

#![forbid(unsafe_code)]

pub mod access;
pub mod account;
pub mod atomic;
pub mod browse;
pub mod card;
pub mod checkpoints;
pub mod commit;
pub mod comparisons;
pub mod conversions;
pub mod convert;
pub mod diff;
mod error;
pub mod facts;
mod hub;
pub mod inspect;
mod jobs;
pub mod local;
pub mod names;
pub mod preupload;
pub mod repos;
pub mod revision;
pub mod scan;
pub mod source;
pub mod upload;
pub mod words;
pub mod xet;

#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind};
pub use hub::{Hub, HubOptions, Storage};

pub use weighthouse_format as format;
pub use weighthouse_store::blob::ByteStream;
pub use weighthouse_store::catalog::{
    Account, AccountKind, ConversionOutput, Membership, RepoKey, RepoKind, RepoRecord, RepoSort, Role, Scope,
    TensorPlace, TokenRecord,
};
pub use weighthouse_store::digest::{GitOid, Sha256};
pub use weighthouse_store::{Clock, StoreError};
