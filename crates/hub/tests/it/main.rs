//! The protocol as clients and attackers meet it, in process: real routes, real store, no sockets.

mod access;
mod commits;
mod faults;
mod git;
mod lfs;
mod site;
mod xet;
