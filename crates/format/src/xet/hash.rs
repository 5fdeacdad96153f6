//! Hashes of chunks, xorbs, files and ranges.
//!
//! Every hash is a keyed BLAKE3 of 32 bytes; the key says what was hashed. Xorb and file hashes are roots of a tree
//! whose shape depends on the hashes themselves, so that a local edit changes few nodes. [`HashTree`] builds the root
//! while chunks arrive and keeps a few nodes per level: memory is logarithmic in the number of chunks.
//!
//! The text form is **not** the hexadecimal form of the bytes: each group of 8 bytes is one little-endian word, printed
//! as 16 digits. SHA-256 digests travel in shards in the same swapped form; see [`XetHash::from_sha256`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::FormatError;

const DATA_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16, 155, 235, 43, 88, 180,
    208, 176, 75, 147, 173, 242, 41,
];
const NODE_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55, 199, 109, 210, 248,
    99, 82, 230, 74, 83, 113, 63,
];
const RANGE_KEY: [u8; 32] = [
    127, 24, 87, 214, 206, 86, 237, 102, 18, 127, 249, 19, 231, 165, 195, 243, 164, 205, 38, 213, 181, 219, 73, 230,
    65, 36, 152, 127, 40, 251, 148, 195,
];

/// Key under which the root of a file becomes its file hash.
const FILE_KEY: [u8; 32] = [0; 32];

/// Nodes with one parent: at least this many, fewer only at the end of a level.
pub(super) const MIN_GROUP: usize = 3;

/// Nodes with one parent: at most this many.
pub(super) const MAX_GROUP: usize = 9;

/// A group of at least [`MIN_GROUP`] nodes ends after a node whose last word is a multiple of this.
const GROUP_MODULUS: u64 = 4;

/// A chunk is worth a dedup query across files when the last word of its hash is a multiple of this.
const DEDUP_MODULUS: u64 = 1024;

/// Digits in the text form of a hash.
const TEXT_LEN: usize = 64;

/// Longest line of a node text: the digits, three separators, 20 decimal digits, a newline.
const MAX_LINE: usize = TEXT_LEN + 3 + 20 + 1;

/// A 32-byte hash of the Xet protocol.
///
/// `Display`, `FromStr` and serde use the word-swapped text form that appears in URLs and JSON.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XetHash([u8; 32]);

impl XetHash {
    /// All zeros: the hash of the empty file.
    pub const ZERO: Self = Self([0; 32]);

    /// All ones: ends a section of a shard and is the hash of nothing.
    pub(crate) const BOOKEND: Self = Self([0xFF; 32]);

    /// Wraps the bytes as they lie in shards and footers.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes as they lie in shards and footers.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Turns an ordinary SHA-256 digest into the form shards carry.
    ///
    /// The text form of the result equals the usual hexadecimal form of the digest.
    #[must_use]
    pub fn from_sha256(digest: &[u8; 32]) -> Self {
        Self(swap_words(*digest))
    }

    /// Turns the form shards carry back into an ordinary SHA-256 digest.
    #[must_use]
    pub fn to_sha256(self) -> [u8; 32] {
        swap_words(self.0)
    }

    /// Hash of this hash under a secret key, as dedup answers carry it.
    #[must_use]
    pub fn keyed(&self, key: &[u8; 32]) -> Self {
        Self(*blake3::keyed_hash(key, &self.0).as_bytes())
    }

    /// Whether clients ask for this chunk across files because of its hash alone.
    ///
    /// The first chunk of a file and chunks flagged in a shard are eligible too, whatever their hash.
    #[must_use]
    pub const fn is_global_dedup_eligible(&self) -> bool {
        self.last_word().is_multiple_of(DEDUP_MODULUS)
    }

    /// First word: the truncated hash that lookup tables are sorted by.
    pub(crate) const fn first_word(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether a group of the tree that is large enough ends after a node with this hash.
    pub(super) const fn ends_group(&self) -> bool {
        self.last_word().is_multiple_of(GROUP_MODULUS)
    }

    const fn last_word(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn text(&self) -> [u8; TEXT_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; TEXT_LEN];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(swap_words(self.0)) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        text
    }
}

/// Reverses the bytes inside every group of eight.
fn swap_words(mut bytes: [u8; 32]) -> [u8; 32] {
    for word in bytes.as_chunks_mut::<8>().0 {
        word.reverse();
    }
    bytes
}

impl fmt::Display for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for XetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XetHash({self})")
    }
}

impl FromStr for XetHash {
    type Err = FormatError;

    /// Reads the text form: exactly 64 lower-case digits, so that every hash has one spelling.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let fault = || FormatError::NotAHash { len: text.len() };
        let digits: &[u8; TEXT_LEN] = text.as_bytes().try_into().map_err(|_| fault())?;
        let mut bytes = [0; 32];
        for (byte, &[high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low).ok_or_else(fault)?;
        }
        Ok(Self(swap_words(bytes)))
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl Serialize for XetHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for XetHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = XetHash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<XetHash, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Hash of a chunk's raw bytes; also the hash by which a whole shard is named.
#[must_use]
pub fn chunk_hash(raw: &[u8]) -> XetHash {
    XetHash(*blake3::keyed_hash(&DATA_KEY, raw).as_bytes())
}

/// Root of the tree over chunks `(hash, raw length in bytes)` in order.
///
/// Without chunks the root is zero; the root over one chunk is the hash of the chunk.
#[must_use]
pub fn root(chunks: &[(XetHash, u64)]) -> XetHash {
    let mut tree = HashTree::new();
    tree.extend(chunks.iter().copied());
    tree.root()
}

/// Hash of a xorb: the [`root`] over its chunks.
#[must_use]
pub fn xorb_hash(chunks: &[(XetHash, u64)]) -> XetHash {
    root(chunks)
}

/// Hash of a file: the [`root`] over its chunks, hashed once more; zero for the empty file.
#[must_use]
pub fn file_hash(chunks: &[(XetHash, u64)]) -> XetHash {
    let mut tree = HashTree::new();
    tree.extend(chunks.iter().copied());
    tree.file_hash()
}

/// Hash over the chunk hashes of a range, with which a client proves that it knows them.
#[must_use]
pub fn range_hash<'a>(chunks: impl IntoIterator<Item = &'a XetHash>) -> XetHash {
    let mut hasher = blake3::Hasher::new_keyed(&RANGE_KEY);
    for chunk in chunks {
        hasher.update(&chunk.0);
    }
    XetHash(*hasher.finalize().as_bytes())
}

/// A node: its hash and the raw bytes below it.
pub type Node = (XetHash, u64);

/// Grows the tree over chunks that arrive one by one.
///
/// Memory is one open group per level: some 6 KiB for a million chunks. The cost per chunk is small beside that of
/// hashing the chunk itself.
#[derive(Clone, Debug, Default)]
pub struct HashTree {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// Nodes of the group that is still open.
    open: Vec<Node>,
    /// Whether a group of this level was closed before.
    closed_any: bool,
}

impl HashTree {
    /// An empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Adds the next chunk with its raw length in bytes.
    pub fn push(&mut self, hash: XetHash, raw_len: u64) {
        self.push_at(0, (hash, raw_len));
    }

    fn push_at(&mut self, first: usize, mut node: Node) {
        for index in first.. {
            if index == self.levels.len() {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(index) else {
                return;
            };
            level.open.push(node);
            let len = level.open.len();
            if len < MAX_GROUP && (len < MIN_GROUP || !node.0.ends_group()) {
                return;
            }
            node = parent(&level.open);
            level.open.clear();
            level.closed_any = true;
        }
    }

    /// Root over all chunks pushed so far.
    #[must_use]
    pub fn root(mut self) -> XetHash {
        for index in 0.. {
            let Some(level) = self.levels.get_mut(index) else {
                break;
            };
            if let ([only], false) = (level.open.as_slice(), level.closed_any) {
                return only.0;
            }
            if !level.open.is_empty() {
                let node = parent(&level.open);
                self.push_at(index + 1, node);
            }
        }
        XetHash::ZERO
    }

    /// File hash over all chunks pushed so far.
    #[must_use]
    pub fn file_hash(self) -> XetHash {
        if self.levels.is_empty() { XetHash::ZERO } else { self.root().keyed(&FILE_KEY) }
    }
}

impl Extend<(XetHash, u64)> for HashTree {
    fn extend<T: IntoIterator<Item = (XetHash, u64)>>(&mut self, chunks: T) {
        for (hash, raw_len) in chunks {
            self.push(hash, raw_len);
        }
    }
}

/// Joins a group into its parent: the hash of one text line per child, and the sum of the sizes.
pub(super) fn parent(children: &[Node]) -> Node {
    let mut text = [0; MAX_GROUP * MAX_LINE];
    let mut filled = 0;
    let mut total = 0u64;
    let mut write = |bytes: &[u8]| {
        if let Some(room) = text.get_mut(filled..filled + bytes.len()) {
            room.copy_from_slice(bytes);
            filled += bytes.len();
        }
    };
    for (hash, size) in children {
        write(&hash.text());
        write(b" : ");
        let (digits, start) = decimal(*size);
        write(digits.get(start..).unwrap_or_default());
        write(b"\n");
        total = total.wrapping_add(*size);
    }
    let hash = blake3::keyed_hash(&NODE_KEY, text.get(..filled).unwrap_or_default());
    (XetHash(*hash.as_bytes()), total)
}

/// Decimal digits of `value`, right-aligned, and the index of the first.
fn decimal(mut value: u64) -> ([u8; 20], usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return (digits, start);
        }
    }
}

#[cfg(test)]
mod tests;
