//! Bytes: how they come in, where they lie, how they are read back.

pub mod codec;
mod index;
mod ingest;
mod pack;
mod read;
mod receive;

pub(crate) use pack::remove as remove_pack;

pub use index::Place;
pub(crate) use index::{PlaceCache, place_cache};
pub use ingest::{Ingest, IngestedFile};
pub use pack::PackWriter;
pub use read::ByteStream;
pub use receive::{ReceiveError, ReceivedXorb};

#[cfg(test)]
mod tests;
