//! Elements of a tensor, out of its pieces.
