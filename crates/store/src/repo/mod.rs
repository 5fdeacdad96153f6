//! History as real git: blobs, trees and commits are encoded exactly as git encodes them.

pub mod commit;
pub mod edit;
pub mod object;
pub mod tree;
