//! Pushes and pulls against a whole hub, a hub behind a bad line, and a hub that means harm.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod bad_line;
mod hostile;
mod round_trip;
mod world;
