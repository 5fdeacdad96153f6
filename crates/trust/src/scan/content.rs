//! What bytes can be taken for. Names are never asked; every format that fits is an answer.

use weighthouse_format::compressed::Compressor;
use weighthouse_format::zip::Archive;
use weighthouse_format::{Limits, Section, h5, other, pickle};

/// Something that bytes can be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Zip,
    SevenZip,
    Rar,
    Tar,
    Compressed(Compressor),
    Pickle,
    Npy,
    Hdf5,
    Gguf,
    Ggml,
    Safetensors,
    Tflite,
    LevelDb,
    Elf,
    Pe,
    MachO,
    JavaClass,
    Wasm,
    Pdf,
    /// Pictures, sound, fonts, tables: what no loader of checkpoints runs.
    Inert(&'static str),
}

impl Kind {
    /// The spelling in our output.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::SevenZip => "7z",
            Self::Rar => "rar",
            Self::Tar => "tar",
            Self::Compressed(compressor) => compressor.as_str(),
            Self::Pickle => "pickle",
            Self::Npy => "npy",
            Self::Hdf5 => "hdf5",
            Self::Gguf => "gguf",
            Self::Ggml => "ggml",
            Self::Safetensors => "safetensors",
            Self::Tflite => "tflite",
            Self::LevelDb => "leveldb",
            Self::Elf => "elf",
            Self::Pe => "pe",
            Self::MachO => "mach-o",
            Self::JavaClass => "java-class",
            Self::Wasm => "wasm",
            Self::Pdf => "pdf",
            Self::Inert(name) => name,
        }
    }
}

/// Bytes of a fixed mark at a fixed place.
type Mark = (usize, &'static [u8], Kind);

const MARKS: &[Mark] = &[
    (0, b"7z\xbc\xaf\x27\x1c", Kind::SevenZip),
    (0, b"Rar!\x1a\x07", Kind::Rar),
    (0, b"\x93NUMPY", Kind::Npy),
    (0, b"GGUF", Kind::Gguf),
    (0, b"FUGG", Kind::Gguf),
    (0, b"lmgg", Kind::Ggml),
    (0, b"fmgg", Kind::Ggml),
    (0, b"tjgg", Kind::Ggml),
    (0, b"algg", Kind::Ggml),
    (4, b"TFL3", Kind::Tflite),
    (0, b"\x7fELF", Kind::Elf),
    (0, b"\xcf\xfa\xed\xfe", Kind::MachO),
    (0, b"\xce\xfa\xed\xfe", Kind::MachO),
    (0, b"\xfe\xed\xfa\xcf", Kind::MachO),
    (0, b"\xfe\xed\xfa\xce", Kind::MachO),
    (0, b"\0asm\x01\0\0\0", Kind::Wasm),
    (0, b"%PDF-", Kind::Pdf),
    (0, b"\x89PNG\r\n\x1a\n", Kind::Inert("png")),
    (0, b"\xff\xd8\xff", Kind::Inert("jpeg")),
    (0, b"GIF87a", Kind::Inert("gif")),
    (0, b"GIF89a", Kind::Inert("gif")),
    (8, b"WEBP", Kind::Inert("webp")),
    (8, b"WAVE", Kind::Inert("wav")),
    (8, b"AVI ", Kind::Inert("avi")),
    (0, b"fLaC", Kind::Inert("flac")),
    (0, b"OggS", Kind::Inert("ogg")),
    (0, b"ID3", Kind::Inert("mp3")),
    (4, b"ftyp", Kind::Inert("mp4")),
    (0, b"\x1aE\xdf\xa3", Kind::Inert("matroska")),
    (0, b"PAR1", Kind::Inert("parquet")),
    (0, b"ARROW1\0\0", Kind::Inert("arrow")),
    (0, b"\0\x01\0\0\0", Kind::Inert("font")),
    (0, b"OTTO", Kind::Inert("font")),
    (0, b"wOFF", Kind::Inert("font")),
    (0, b"wOF2", Kind::Inert("font")),
    (0, b"LITERTLM", Kind::Inert("litertlm")),
    (4, b"ET12", Kind::Inert("executorch")),
    (0, b"\x0c\xdb\x3a\x2a", Kind::Inert("ocdbt")),
    (0, b"SQLite format 3\0", Kind::Inert("sqlite")),
];

/// Marks that no run of elements begins with by chance.
const LOUD: &[&[u8]] = &[
    b"PK\x03\x04",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x93NUMPY",
    b"\x7fELF\x02\x01\x01",
    b"\x89HDF\r\n\x1a\n",
    b"\xfd7zXZ\0",
    b"#!/bin/",
    b"#!/usr/bin",
    b"%PDF-1.",
    b"\x80\x02ccopy_reg\n",
    b"\x80\x02cposix\n",
    b"\x80\x02cos\n",
    b"\x80\x02c__builtin__\n",
    b"\x80\x02cbuiltins\n",
];

/// Longest head that is looked at.
pub(super) const HEAD_BYTES: u64 = 4096;
/// Opcodes after which something that looks like a pickle is one.
const PROBE_OPS: u64 = 20_000;
const LEVELDB: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Everything that the bytes can be taken for, except text.
pub(super) fn kinds(section: &Section, head: &[u8], limits: &Limits) -> Vec<Kind> {
    let starts = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let mut found: Vec<Kind> =
        MARKS.iter().filter(|(at, mark, _)| starts(*at, mark)).map(|(_, _, kind)| *kind).collect();
    if let Some(compressor) = Compressor::of(head) {
        found.push(Kind::Compressed(compressor));
    }
    if is_pe(head) {
        found.push(Kind::Pe);
    }
    match head {
        // The number of architectures of a fat binary is small; of a class it is the version.
        [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 0..=30, ..] => found.push(Kind::MachO),
        [0xca, 0xfe, 0xba, 0xbe, ..] => found.push(Kind::JavaClass),
        _ => {}
    }
    if starts(0, b"PK\x03\x04") || starts(0, b"PK\x05\x06") || has_end_record(section) {
        found.push(Kind::Zip);
    }
    if other::tar::is_tar(section) {
        found.push(Kind::Tar);
    }
    if h5::is_h5(section) {
        found.push(Kind::Hdf5);
    }
    if is_safetensors(head, section.len(), limits) {
        found.push(Kind::Safetensors);
    }
    if section.len() > 48 && section.tail("the last bytes of a file", 8).is_ok_and(|tail| tail == LEVELDB) {
        found.push(Kind::LevelDb);
    }
    // What ends in an error before it did anything is no pickle.
    let may_follow = |kind: &Kind| match kind {
        Kind::Zip | Kind::Compressed(Compressor::Zlib | Compressor::Lzma) | Kind::Tar => true,
        // A block of the user's may stand before it.
        Kind::Hdf5 => !head.starts_with(b"\x89HDF"),
        _ => false,
    };
    if found.iter().all(may_follow) && is_pickle(section, head, limits) {
        found.push(Kind::Pickle);
    }
    found.dedup();
    found
}

/// Whether the bytes begin as something that is no run of elements.
pub(super) fn is_loud(head: &[u8]) -> bool {
    LOUD.iter().any(|mark| head.starts_with(mark))
}

/// Whether a loader would run it as a pickle for long enough to matter.
pub(super) fn is_pickle(section: &Section, head: &[u8], limits: &Limits) -> bool {
    match head {
        // An archive begins as a pickle does that asks its loader for something; loaders that answer look for archives
        // first.
        [] | [b'P', b'K', 3, 4, ..] => return false,
        [0x80, 0..=5, ..] => return true,
        _ => {}
    }
    let mut limits = *limits;
    limits.pickle_ops = PROBE_OPS;
    let found = pickle::read(section, 0, &limits);
    let acts = found.graph.globals().iter().any(|global| global.called.count + global.altered.count > 0);
    let whole = found.root.is_some() && found.trace.ops > 1;
    // Plain text may be a short pickle by chance; a whole file rarely is.
    let ends = found.trace.end == section.len();
    acts || (found.trace.ops >= PROBE_OPS) || (whole && (ends || !found.graph.globals().is_empty() || is_binary(head)))
}

/// Whether the bytes are no text.
pub(super) fn is_binary(head: &[u8]) -> bool {
    // Text has tabs, ends of lines and pages, and escapes for terminals.
    if head.iter().any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31)) {
        return true;
    }
    match str::from_utf8(head) {
        Ok(_) => false,
        // The head may end within a character.
        Err(error) => error.error_len().is_some() || head.len() - error.valid_up_to() > 3,
    }
}

/// An end record of a zip anywhere in the bytes where readers look for one, behind which the archive can be read.
fn has_end_record(section: &Section) -> bool {
    let Ok(tail) = section.tail("the last bytes of a file", 65_557) else { return false };
    let Some(at) = tail.windows(4).rposition(|four| four == b"PK\x05\x06") else { return false };
    // An empty archive is one too, but text that talks of the mark is not.
    tail.len() - at >= 22 && Archive::read(section, &Limits::default()).is_ok()
}

fn is_pe(head: &[u8]) -> bool {
    let at = head.get(0x3c..).and_then(|rest| rest.first_chunk()).map(|&bytes| u32::from_le_bytes(bytes) as usize);
    head.starts_with(b"MZ") && at.and_then(|at| head.get(at..)).is_some_and(|rest| rest.starts_with(b"PE\0\0"))
}

/// `n` in eight bytes, then JSON of `n` bytes that fit into the file.
fn is_safetensors(head: &[u8], len: u64, limits: &Limits) -> bool {
    let Some((claimed, json)) = head.split_first_chunk::<8>() else { return false };
    let claimed = u64::from_le_bytes(*claimed);
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    (2..=limits.header_bytes).contains(&claimed) && claimed <= len.saturating_sub(8) && first == Some(&b'{')
}
