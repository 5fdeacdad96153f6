//! The protocol as clients and attackers meet it, in process: real routes, real store, no sockets.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test stops at the first surprise")]

mod access;
mod commits;
mod faults;
mod git;
mod lfs;
mod site;
mod trust;
mod windows;
mod xet;
