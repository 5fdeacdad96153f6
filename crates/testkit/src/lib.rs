//! Things to test with: a hub on a free port, with users and tokens.
//!
//! Nothing here is published; product crates use it in their tests only.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test that cannot be set up should stop at once")]

mod hub;

pub use hub::{TestHub, noise};
