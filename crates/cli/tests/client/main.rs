//! The program as people run it: what it prints, and that nothing is lost when something breaks.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests stop at the first surprise")]

mod diff;
mod full;
mod inspect;
mod killed;
mod large;
mod postgres;
mod roads;
mod s3;
mod scan;
mod storm;
mod upkeep;
mod vanished;
mod verbs;
mod wire;
mod world;
