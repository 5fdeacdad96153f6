//! Xorbs: up to 64 MiB of chunks back to back, each compressed on its own.
//!
//! A body is a sequence of chunk records; a record is an 8-byte header and the stored bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version, 0 |
//! | 1 | 3 | stored length, without this header |
//! | 4 | 1 | scheme: 0 none, 1 LZ4 frame, 2 bytes grouped by four, then LZ4 frame |
//! | 5 | 3 | raw length |
//!
//! Older clients append a footer that begins with `XETBLOB`; nothing in it is needed or trusted, because everything can
//! be computed from the body.
//!
//! **Invariant:** an [`XorbListing`] from [`XorbVerifier::finish`] says only what was computed from the bytes.

mod bg4;
mod build;
mod decode;
mod encode;
mod footer;
mod frame;
mod header;
mod listing;
mod verify;

pub use build::{Xorb, XorbBuilder};
pub use decode::{ChunkDecoder, decode_chunk};
pub use encode::{ChunkEncoder, SchemeChoice, encode_chunk};
pub use footer::write_footer;
pub use header::{CHUNK_HEADER_LEN, ChunkHeader, Scheme};
pub use listing::{XorbChunk, XorbListing};
pub use verify::XorbVerifier;

/// Most raw bytes in one xorb.
pub const MAX_XORB_RAW: u64 = 64 << 20;
/// Most chunks in one xorb.
pub const MAX_XORB_CHUNKS: usize = 8192;

/// First bytes of a footer, where the next chunk record would begin.
const FOOTER_IDENT: [u8; 7] = *b"XETBLOB";

#[cfg(test)]
mod tests;
