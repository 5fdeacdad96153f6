//! The program as a client: what it prints, and that nothing is lost when it or the hub is killed.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod killed;
mod verbs;
mod world;
