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
//!                            ├── advisories  what is known to be wrong, matched with what is stored
//!                            ├── gate        what the scanner says of files, and who may have them
//!                            ├── comparisons what changed between two revisions
//!                            ├── policies    what may be done with what, and why not
//!                            ├── audit       what was done, by whom
//!                            ├── repack      stored files coded anew, in the background
//!                            └── card        what a README and a config say
//!   files of any place ──┬─► inspect   what is in a checkpoint
//!                        ├─► diff      what changed between two
//!                        ├─► adopt     models on a disk: what is there twice, taken in, freed, brought back
//!                        └─► convert   the same in another form, written durably
//! ```
//! Nothing here knows HTTP, JSON shapes of the wire, or the terminal; nothing here writes data but through the store.

#![forbid(unsafe_code)]

pub mod access;
pub mod account;
#[cfg(unix)]
pub mod adopt;
pub mod advisories;
pub mod atomic;
pub mod audit;
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
pub mod fsck;
pub mod gate;
pub mod gc;
mod hub;
pub mod inspect;
mod jobs;
pub mod local;
pub mod names;
pub mod policies;
pub mod preupload;
pub mod repack;
pub mod repos;
pub mod retention;
pub mod revision;
pub mod scan;
pub mod scrub;
pub mod source;
pub mod upload;
pub mod usage;
pub mod words;
pub mod xet;

#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind};
pub use hub::{Hub, HubOptions, Storage};

pub use weighthouse_format as format;
pub use weighthouse_store::blob::ByteStream;
pub use weighthouse_store::catalog::{
    Account, AccountKind, AuditQuery, AuditRecord, ConversionOutput, FeedRecord, Membership, OverrideRecord,
    PolicyRecord, RepoKey, RepoKind, RepoRecord, RepoSort, Role, Scope, TensorPlace, TokenRecord,
};
pub use weighthouse_store::catalog::{CheckState, HubTotals, RepoTotal};
pub use weighthouse_store::digest::{GitOid, Sha256};
pub use weighthouse_store::{Clock, StoreError};
pub use weighthouse_trust::policy;
