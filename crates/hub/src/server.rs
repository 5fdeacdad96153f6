//! What answers: from the socket to the use case.
//!
//! - [`listen`]: the serving loop, patience and shutdown
//! - [`telemetry`]: request ids, log lines, metrics
//! - [`headers`]: CORS and what browsers need to be safe
//! - [`address`]: one canonical path for the many spellings of a repository
//! - [`app`]: state and routes
//! - [`session`]: tokens in headers and in the cookie of the pages
//! - [`visitor`]: who asks, about what, and how refusals are worded
//! - [`stack`]: these layers in their order, around the routes
//! - [`health`]: `/healthz`, `/readyz`, `/metrics`
//! - [`range`]: conditional and ranged requests
//! - [`sign`]: addresses and tokens that prove themselves

mod accounts;
pub mod address;
mod advisories;
pub mod app;
mod cas;
mod commits;
mod compare;
mod conversions;
mod files;
mod git_lfs;
pub mod headers;
pub mod health;
mod history;
pub(crate) mod inside;
pub mod listen;
pub(crate) mod policies;
pub mod range;
mod repos;
mod scans;
pub mod session;
pub mod sign;
pub mod stack;
pub(crate) mod storage;
pub mod telemetry;
mod trees;
pub mod visitor;
