//! Frames around manifests and nodes, and the numbers in them.

use std::sync::Arc;

use crate::data::decode;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::tensor::Filter;

/// Checks the frame of a manifest or node, and decodes its body to at most `limit` bytes.
pub(super) fn unframe(what: &'static str, magic: [u8; 4], bytes: &[u8], limit: u64) -> Result<Body, FormatError> {
    let short = || FormatError::Truncated { what, needed: 18, got: bytes.len() as u64 };
    let head = bytes.first_chunk::<12>().ok_or_else(short)?;
    if head[..4] != magic {
        return Err(FormatError::BadMagic { what });
    }
    let mut len = [0; 8];
    len.copy_from_slice(&head[4..]);
    let (len, actual) = (u64::from_le_bytes(len), bytes.len() as u64);
    if len != actual {
        return Err(FormatError::LengthMismatch { what: "OCDBT manifest or node in bytes", expected: len, actual });
    }
    let (framed, sum) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let expected = u32::from_le_bytes(*sum);
    let actual = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, framed) as u32;
    if actual != expected && !cfg!(fuzzing) {
        return Err(FormatError::ChecksumMismatch { what, expected, actual });
    }
    let mut head = Body { what, bytes: framed.to_vec(), at: 12 };
    match head.varint()? {
        0 => {}
        version => return Err(FormatError::UnknownVersion { what, version }),
    }
    let filters = match head.varint()? {
        0 => &[][..],
        1 => &[Filter::Zstd][..],
        other => return Err(FormatError::Unsupported { what: "compression of OCDBT", detail: format!("`{other}`") }),
    };
    let body = head.rest().to_vec();
    let bytes = decode(body, filters, limit)?;
    Limits::at_most("decoded OCDBT nodes in bytes", bytes.len() as u64, limit)?;
    Ok(Body { what, bytes, at: 0 })
}

/// A decoded body that is read from front to back.
pub(super) struct Body {
    what: &'static str,
    bytes: Vec<u8>,
    at: usize,
}

impl Body {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn broken(&self, detail: impl Into<String>) -> FormatError {
        FormatError::Broken { what: self.what, at: self.at as u64, detail: detail.into() }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&[u8], FormatError> {
        let got = self.rest().len() as u64;
        let short = FormatError::Truncated { what: self.what, needed: len, got };
        let begin = self.at;
        let end = usize::try_from(len).ok().and_then(|len| begin.checked_add(len));
        let Some(found) = end.and_then(|end| self.bytes.get(begin..end)) else { return Err(short) };
        self.at += found.len();
        Ok(found)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FormatError> {
        self.take(1).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    pub(super) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.broken("a number is longer than 64 bits"))
    }

    /// A number of entries that take at least `least` bytes each.
    pub(super) fn count(&mut self, least: u64) -> Result<u64, FormatError> {
        let count = self.varint()?;
        let (needed, got) = (count.saturating_mul(least), self.rest().len() as u64);
        if needed > got {
            return Err(FormatError::Truncated { what: self.what, needed, got });
        }
        Ok(count)
    }

    /// A column of numbers; `count` was compared with what is there.
    pub(super) fn column(&mut self, count: u64) -> Result<Vec<u64>, FormatError> {
        (0..count).map(|_| self.varint()).collect()
    }

    /// Texts that share their beginnings: lengths of what is shared, from the second on, then of what is not; then
    /// `between` is read, and then what is not shared.
    pub(super) fn shared_texts<T>(
        &mut self,
        count: u64,
        limit: u64,
        between: impl FnOnce(&mut Self) -> Result<T, FormatError>,
    ) -> Result<(Vec<Vec<u8>>, T), FormatError> {
        let shared = self.column(count.saturating_sub(1))?;
        let lengths = self.column(count)?;
        let between = between(self)?;
        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut total = 0u64;
        for (at, &len) in lengths.iter().enumerate() {
            let common = at.checked_sub(1).and_then(|before| shared.get(before)).copied().unwrap_or(0);
            let before = texts.last().map(Vec::as_slice).unwrap_or_default();
            let common = usize::try_from(common).ok().and_then(|common| before.get(..common));
            let Some(common) = common.map(<[u8]>::to_vec) else {
                return Err(self.broken("a key shares more than there is"));
            };
            total = total.saturating_add(common.len() as u64).saturating_add(len);
            Limits::at_most("length of all names in bytes", total, limit)?;
            texts.push([common.as_slice(), self.take(len)?].concat());
        }
        Ok((texts, between))
    }

    /// Paths of the files that a node or manifest points into, below the database's folder.
    pub(super) fn files(&mut self, limits: &Limits) -> Result<Vec<Arc<str>>, FormatError> {
        let count = self.count(2)?;
        Limits::at_most("number of files of an OCDBT node", count, limits.members)?;
        let (paths, bases) = self.shared_texts(count, limits.header_bytes, |body| body.column(count))?;
        let mut files = Vec::new();
        for (path, base) in paths.into_iter().zip(bases) {
            if base > path.len() as u64 {
                return Err(self.broken("the base of a path is longer than the path"));
            }
            let text = String::from_utf8(path).map_err(|_| self.broken("a path is not UTF-8"))?;
            files.push(Arc::from(text));
        }
        Ok(files)
    }
}
