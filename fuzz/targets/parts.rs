//! Targets for the parts that readers share, and for the shapes of Xet.

use std::sync::Arc;

use weighthouse_format::other::tar as tars;
use weighthouse_format::protobuf::{Message, Value};
use weighthouse_format::source::MemoryFolder;
use weighthouse_format::stats::Stats;
use weighthouse_format::tensor::{Filter, Piece, Region, Stored};
use weighthouse_format::xet::shard::{Shard, ShardFooter};
use weighthouse_format::xet::xorb::{ChunkHeader, XorbVerifier, decode_chunk};
use weighthouse_format::{Dtype, Section, Tensor, pickle as pickles, zip as zips};

use super::{follow, limits};

/// Takes numbers off the front of the bytes; nothing left is zero.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Small most often, and sometimes as large as can be.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            253 => u64::from(self.byte()) << 8,
            small => small.into(),
        }
    }

    fn numbers(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.number()).collect()
    }

    fn filter(&mut self) -> Filter {
        match self.byte() % 15 {
            0 => Filter::Deflate,
            1 => Filter::Zlib,
            2 => Filter::Gzip,
            3 => Filter::Zstd,
            4 => Filter::Snappy,
            5 => Filter::Lz4,
            6 => Filter::Blosc,
            7 => Filter::Unshuffle { width: self.byte().into() },
            8 => Filter::DropChecksum,
            9 => Filter::SwapBytes { width: self.byte().into() },
            10 => Filter::Narrow { from: self.byte().into(), to: self.byte().into() },
            11 => Filter::Latin1,
            12 => Filter::Varint { width: self.byte().into() },
            13 => Filter::Negate { width: self.byte().into() },
            _ => Filter::Conjugate { width: self.byte().into() },
        }
    }

    fn dtype(&mut self) -> Dtype {
        let byte = usize::from(self.byte());
        Dtype::ALL.get(byte % Dtype::ALL.len()).copied().unwrap_or(Dtype::U8)
    }

    fn region(&mut self, rank: usize) -> Region {
        match self.byte() % 3 {
            0 => Region::Whole,
            1 => Region::Box { offsets: self.numbers(rank), shape: self.numbers(rank) },
            _ => Region::Run { first: self.number(), len: self.number() },
        }
    }
}

/// A tensor of any layout: type, shape, pieces with regions, strides and filters.
pub fn data(bytes: &[u8]) {
    let mut taken = Taken(bytes);
    let dtype = taken.dtype();
    let rank = usize::from(taken.byte() % 4);
    let shape = taken.numbers(rank);
    let pieces = (0..taken.byte() % 4).map(|_| {
        let region = taken.region(rank);
        let stored = match taken.byte() % 3 {
            0 => Stored::Fill((0..taken.byte() % 9).collect::<Vec<u8>>().into()),
            1 => Stored::Inline((0..taken.byte()).collect::<Vec<u8>>().into()),
            _ => Stored::File { file: Arc::from("a"), begin: taken.number(), end: taken.number() },
        };
        let filters = (0..taken.byte() % 3).map(|_| taken.filter()).collect();
        let decoded_bytes = taken.number();
        let first_byte = taken.number();
        let strides = (taken.byte() % 2 == 1).then(|| taken.numbers(rank));
        Piece { region, stored, filters, decoded_bytes, first_byte, strides }
    });
    let tensor = Tensor { name: "t".to_owned(), dtype, shape, pieces: pieces.collect() };
    let folder = MemoryFolder::new(vec![Section::of_bytes("a", taken.0)]);
    follow::tensors(&folder, [&tensor], &limits());
}

/// A chain of filters, and the bytes that go through it.
pub fn filters(bytes: &[u8]) {
    let mut taken = Taken(bytes);
    let filters: Vec<Filter> = (0..1 + taken.byte() % 3).map(|_| taken.filter()).collect();
    let decoded_bytes = taken.number();
    let stored = Stored::Inline(taken.0.into());
    let pieces = vec![Piece { region: Region::Whole, stored, filters, decoded_bytes, first_byte: 0, strides: None }];
    let tensor = Tensor { name: "t".to_owned(), dtype: Dtype::U8, shape: vec![decoded_bytes], pieces };
    follow::tensors(&MemoryFolder::default(), [&tensor], &limits());
}

/// A type, and elements or blocks of it.
pub fn numbers(bytes: &[u8]) {
    let mut taken = Taken(bytes);
    if let Ok(stats) = Stats::of(taken.dtype(), taken.0) {
        let _ = (stats.count(), stats.std(), stats.norm());
    }
}

/// Pickles one after the other.
pub fn pickle(bytes: &[u8]) {
    let (found, _) = pickles::read_all(&Section::of_bytes("a.pkl", bytes), &limits(), 8);
    for pickle in found {
        if let Some(root) = pickle.root {
            let _ = pickle.graph.walk(root).count();
        }
        let _ = pickle.finish();
    }
}

/// Messages in messages.
pub fn protobuf(bytes: &[u8]) {
    let mut messages = vec![Message::new(Section::of_bytes("a.pb", bytes))];
    for _ in 0..1000 {
        let Some(message) = messages.pop() else { return };
        let _ = (message.text("text", 1 << 16), message.varints("numbers", 1 << 16, &mut Vec::new()));
        let Ok(fields) = message.fields("message") else { continue };
        let mut repeated = Vec::new();
        for field in fields {
            let Ok(field) = field else { break };
            let _ = field.value.repeated("numbers", 1 << 10, &mut repeated);
            if let Value::Bytes(inner) = field.value {
                messages.push(inner);
            }
        }
    }
}

/// Members of a tar archive.
pub fn tar(bytes: &[u8]) {
    let members = tars::members(&Section::of_bytes("a.tar", bytes), &limits());
    let _ = members.map(|members| members.iter().filter(|member| member.leads_outside()).count());
}

/// Every member of a zip archive, unpacked.
pub fn zip(bytes: &[u8]) {
    let limits = limits();
    let Ok(mut archive) = zips::Archive::read(&Section::of_bytes("a.zip", bytes), &limits) else { return };
    archive.check();
    for index in 0..archive.entries().len().min(64) {
        if let Ok(member) = archive.open(index) {
            let _ = (member.place(), member.bytes(&limits));
        }
    }
    let _ = archive.take_warnings();
}

/// One chunk behind its header.
pub fn xet_chunk(bytes: &[u8]) {
    let Some((header, stored)) = bytes.split_first_chunk() else { return };
    if let Ok(header) = ChunkHeader::parse(*header) {
        let mut out = Vec::new();
        let _ = decode_chunk(header.scheme(), stored, header.raw_len(), &mut out);
        assert!(out.is_empty() || out.len() == header.raw_len(), "a chunk of another length than announced");
    }
}

/// A shard; what can be read can be written and read again.
pub fn xet_shard(bytes: &[u8]) {
    let _ = ShardFooter::parse(bytes);
    if let Ok(shard) = Shard::parse(bytes, &limits())
        && let Ok(written) = shard.to_upload()
    {
        assert!(Shard::parse(&written, &limits()).is_ok(), "a written shard cannot be read");
    }
}

/// A xorb that arrives in two pieces gives what it gives at once.
pub fn xet_xorb(bytes: &[u8]) {
    let verify = |pieces: &[&[u8]]| {
        let mut verifier = XorbVerifier::new();
        for piece in pieces {
            verifier.push(piece).ok()?;
        }
        verifier.finish_unnamed().ok()
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert!(verify(&[bytes]) == verify(&[first, second]), "pieces change what is read");
}
