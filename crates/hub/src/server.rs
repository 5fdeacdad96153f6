//! What answers: from the socket to the use case.
//!
//! - [`address`]: one canonical path for the many spellings of a repository

pub mod address;
