//! What a file is, by its bytes alone; a name is never asked.

use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;

/// First bytes that are looked at; enough for the header of a tar and the offsets where HDF5 may begin.
const HEAD_BYTES: u64 = 4096;
/// Last bytes that are looked at: the footer of a LevelDB table, the end record of a zip without a long comment.
const TAIL_BYTES: u64 = 128;

/// Every format that the bytes match, most telling first. None is no error: most files of a folder are text.
///
/// # Errors
/// [`FormatError::Io`] when the source fails.
pub fn sniff(section: &Section, limits: &Limits) -> Result<Vec<Format>, FormatError> {
    const WHAT: &str = "the first bytes of a file";
    let head = section.head(WHAT, HEAD_BYTES)?;
    let tail = if section.len() > HEAD_BYTES { section.tail(WHAT, TAIL_BYTES)? } else { head.clone() };
    let mut found = Vec::new();
    let magic = MAGIC.iter().filter(|(at, bytes, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes)));
    found.extend(magic.map(|(_, _, format)| *format));
    if is_safetensors(&head, section.len(), limits) {
        found.push(Format::Safetensors);
    }
    if tail.ends_with(&LEVELDB) {
        found.push(Format::TensorBundle);
    }
    if !found.contains(&Format::Zip) && has_end_record(&tail) {
        found.push(Format::Zip);
    }
    if !found.contains(&Format::Hdf5) && [512, 1024, 2048].iter().any(|&at| starts_at(&head, at, HDF5)) {
        found.push(Format::Hdf5);
    }
    if found.is_empty() {
        found.extend(guess(&head, section.len()));
    }
    found.dedup();
    Ok(found)
}

const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
const LEVELDB: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Fixed bytes at fixed places.
const MAGIC: &[(usize, &[u8], Format)] = &[
    (0, b"PK\x03\x04", Format::Zip),
    (0, b"PK\x05\x06", Format::Zip),
    (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", Format::TorchLegacy),
    (0, b"GGUF", Format::Gguf),
    (0, b"FUGG", Format::Gguf),
    (0, b"lmgg", Format::Ggml),
    (0, b"fmgg", Format::Ggml),
    (0, b"tjgg", Format::Ggml),
    (0, b"algg", Format::Ggml),
    (0, HDF5, Format::Hdf5),
    (0, b"\x93NUMPY", Format::Npy),
    (4, b"TFL3", Format::Tflite),
    (4, b"ET12", Format::ExecuTorch),
    (0, b"LITERTLM", Format::LiteRtLm),
    (0, b"\x0c\xdb\x3a\x2a", Format::Ocdbt),
    (0, b"{L\x00\x00\x00\x00\x00\x00", Format::XgBoost),
    (0, b"{\"learner\"", Format::XgBoost),
    (0, b"tree\nversion=", Format::LightGbm),
    (257, b"ustar", Format::Tar),
    (0, b"\x1f\x8b\x08", Format::Gzip),
];

/// `n` in eight bytes, then JSON of `n` bytes that fit into the file.
fn is_safetensors(head: &[u8], len: u64, limits: &Limits) -> bool {
    let Some((claimed, json)) = head.split_first_chunk::<8>() else { return false };
    let claimed = u64::from_le_bytes(*claimed);
    let first = json.iter().find(|byte| **byte != b' ');
    (2..=limits.header_bytes).contains(&claimed) && claimed <= len - 8 && first == Some(&b'{')
}

/// The end record of a zip without a comment, or the locator of its large form.
fn has_end_record(tail: &[u8]) -> bool {
    tail.len() >= 22 && tail.get(tail.len() - 22..).is_some_and(|record| record.starts_with(b"PK\x05\x06"))
}

fn starts_at(head: &[u8], at: usize, magic: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// Formats without magic bytes, only asked when nothing else matches.
fn guess(head: &[u8], len: u64) -> Option<Format> {
    match head {
        [0x80, 2..=5, ..] => Some(Format::Pickle),
        [b'<', b'?', b'x', b'm', b'l', ..] if contains(head, b"<net ") => Some(Format::OpenVino),
        _ if is_text_pickle(head, len) => Some(Format::Pickle),
        // Compressed with zlib, xz, lz4, bzip2 or lzma: joblib.
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] | [0xfd, b'7', b'z', b'X', b'Z', 0, ..] | [4, 0x22, 0x4d, 0x18, ..] => {
            Some(Format::Joblib)
        }
        // Of the latter two the first bytes alone say little.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [0x5d, 0, 0, _, _, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => Some(Format::Joblib),
        _ if is_onnx(head, len) => Some(Format::Onnx),
        _ if is_saved_model(head, len) => Some(Format::SavedModel),
        _ if is_core_ml(head) => Some(Format::CoreMl),
        _ if is_msgpack_tree(head) => Some(Format::Flax),
        _ => None,
    }
}

fn contains(head: &[u8], wanted: &[u8]) -> bool {
    head.windows(wanted.len()).any(|window| window == wanted)
}

/// Protocol 0: text opcodes only. The first opcodes that writers use, and a STOP at the end if the end is in view.
fn is_text_pickle(head: &[u8], len: u64) -> bool {
    let begins =
        [&b"(dp"[..], b"(lp", b"(ip", b"ccopy_reg\n", b"ccopyreg\n", b"c__builtin__\n", b"(i__main__", b"(d", b"(l"];
    let global = || {
        // `cmodule\nname\n`
        let mut lines = head.strip_prefix(b"c").unwrap_or_default().split(|&byte| byte == b'\n');
        let word = |line: Option<&[u8]>| {
            line.is_some_and(|line| {
                !line.is_empty()
                    && line.len() < 256
                    && line.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(byte))
            })
        };
        word(lines.next()) && word(lines.next()) && lines.next().is_some()
    };
    let ends = len > head.len() as u64 || head.ends_with(b".");
    ends && (begins.iter().any(|begin| head.starts_with(begin)) || global())
}

/// Fields of a message that begins the file: number, wire type, and for a length-delimited one its length. Stops where
/// a field leaves the bytes in view; `None` when they are no fields.
fn fields(mut bytes: &[u8], len: u64) -> Option<Vec<(u64, u8, u64)>> {
    let mut found = Vec::new();
    let total = bytes.len();
    while !bytes.is_empty() && found.len() < 16 {
        let (tag, rest) = varint(bytes)?;
        let (number, wire) = (tag >> 3, (tag & 7) as u8);
        let (value, skip, rest) = match wire {
            0 => {
                let (value, rest) = varint(rest)?;
                (value, 0, rest)
            }
            1 => (0, 8, rest),
            2 => {
                let (size, rest) = varint(rest)?;
                (size, size, rest)
            }
            5 => (0, 4, rest),
            _ => return None,
        };
        let at = (total - rest.len()) as u64;
        if number == 0 || number > 4096 || at.checked_add(skip)? > len {
            return None;
        }
        found.push((number, wire, value));
        match usize::try_from(skip).ok().and_then(|skip| rest.get(skip..)) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

/// ModelProto: a small `ir_version` first, then only known fields, the graph (7) or the producer (2) among them.
fn is_onnx(head: &[u8], len: u64) -> bool {
    let Some(found) = fields(head, len) else { return false };
    let known = |&(number, wire, _): &(u64, u8, u64)| match number {
        1 | 5 => wire == 0,
        2..=4 | 6..=8 | 14 | 20 | 25 | 26 => wire == 2,
        _ => false,
    };
    matches!(found.first(), Some((1, 0, 1..=30)))
        && found.iter().all(known)
        && found.iter().any(|(number, ..)| matches!(number, 7 | 8 | 2))
        && !is_saved_model(head, len)
}

/// SavedModel: `saved_model_schema_version` 1, then meta graphs, and nothing else.
fn is_saved_model(head: &[u8], len: u64) -> bool {
    let Some(found) = fields(head, len) else { return false };
    matches!(found.as_slice(), [(1, 0, 1), rest @ ..] if !rest.is_empty() && rest.iter().all(|field| (field.0, field.1) == (2, 2)))
        && contains(head, b"serve") | contains(head, b"Op")
}

/// Core ML: a small `specificationVersion` and a description (field 2) whose own fields are descriptions.
fn is_core_ml(head: &[u8]) -> bool {
    matches!(fields(head, u64::MAX).as_deref(), Some([(1, 0, 1..=20), (2, 2, _), rest @ ..])
        if rest.iter().all(|field| field.0 == 10 || (200..=4096).contains(&field.0)))
}

/// A map with a text key first: what `flax.serialization.to_bytes` writes.
fn is_msgpack_tree(head: &[u8]) -> bool {
    let rest = match head {
        [0x81..=0x8f, rest @ ..] => rest,
        [0xde, _, _, rest @ ..] => rest,
        [0xdf, _, _, _, _, rest @ ..] => rest,
        _ => return false,
    };
    let key = match rest {
        [len @ 0xa1..=0xbf, rest @ ..] => rest.get(..usize::from(len & 31)),
        [0xd9, len, rest @ ..] => rest.get(..usize::from(*len)),
        _ => return false,
    };
    key.and_then(|key| std::str::from_utf8(key).ok()).is_some_and(|key| !key.chars().any(char::is_control))
}
