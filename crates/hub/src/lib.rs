//! The network side of Weighthouse: wire shapes, server, pages, client.
//!
//! - [`wire`]: what travels, as plain serde structs next to the address of their endpoint
//! - [`client`] (feature `client`): what asks, for the program `wh` and for Python
//! - [`server`] (feature `server`): what answers, over the use cases of the crate `weighthouse`
//! - [`web`] (feature `server`): the pages, rendered here, for readers without any script
//!
//! ```text
//! TCP ─ listen ─ telemetry ─ address ─ routes ─ handlers ─► weighthouse (use cases)
//!                                                  └─ wire (JSON in, JSON out)
//! ```
//!
//! Nothing here knows how bytes are stored, and nothing outside [`wire`] knows the Hub's JSON.
//!
//! ```
//! use weighthouse_hub::wire::time;
//!
//! assert_eq!(time::format_millis(1_795_416_660_000), "2026-11-23T06:51:00.000Z");
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod web;
pub mod wire;
