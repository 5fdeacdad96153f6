//! Bytes: how they come in, where they lie, how they are read back.

mod blocks;
mod check;
pub mod codec;
mod coded;
mod compact;
mod hot;
mod index;
mod ingest;
mod pack;
mod read;
mod receive;
mod recode;
mod table;

pub(crate) use ingest::blocking;
pub(crate) use pack::remove as remove_pack;
pub(crate) use table::read as read_table;

pub(crate) use coded::{BlockCache, ContentCache, block_cache, content_cache};
pub(crate) use hot::Hot;
pub use index::Place;
pub(crate) use index::{PlaceCache, place_cache};
pub use ingest::{Ingest, IngestedFile};
pub use pack::PackWriter;
pub use read::ByteStream;
pub use receive::{ReceiveError, ReceivedXorb};
pub use recode::{Pace, RecodeSource, Recoded, RunBase, TensorRun};

/// Version of the encoder of packs. What an older one has looked at is worth another look.
pub const ENCODER: u64 = 1;

#[cfg(test)]
mod tests;
