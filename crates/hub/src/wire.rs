//! The JSON (and NDJSON) of the Hub, of Git LFS and of the Xet CAS.
//!
//! Serde only: no rule of the domain lives here, and no domain type is serialised. Each shape
//! names the endpoint it serves, written as in the clients' own API.

pub mod advisories;
pub mod commit;
pub mod compare;
pub mod conversions;
pub mod error;
pub mod hf;
pub mod inside;
pub mod lfs;
#[cfg(feature = "server")]
pub mod policies;
pub mod query;
pub mod scan;
pub mod storage;
pub mod time;
pub mod xet;
