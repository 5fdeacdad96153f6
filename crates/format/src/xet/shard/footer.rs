//! The 200 bytes at the end of a dedup answer.
//!
//! All fields are u64: version = 1, offset of the file section, of the xorb section, then offset and number of entries
//! of the file, xorb and chunk lookup tables; the 32-byte key (zero: none); creation and expiry in seconds since 1970;
//! six reserved; stored bytes, raw bytes of files, raw bytes of xorbs; offset of the footer itself.

use crate::error::FormatError;
use crate::xet::bytes::{take, take_slice, take_u64};

/// Length of a footer in bytes.
pub(super) const FOOTER_LEN: usize = 200;

const VERSION: u64 = 1;
const WHAT: &str = "shard footer";

/// What a client needs to know of the footer of a dedup answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardFooter {
    /// Key of the chunk hashes, if they are keyed: compare with [`XetHash::keyed`](crate::xet::hash::XetHash::keyed).
    pub hmac_key: Option<[u8; 32]>,
    /// Creation in seconds since 1970; 0 when unknown.
    pub created_s: u64,
    /// Seconds since 1970 after which the answer is void; `u64::MAX` for never.
    pub expires_s: u64,
}

impl ShardFooter {
    /// Reads the footer at the end of a shard.
    ///
    /// # Errors
    /// [`FormatError::Truncated`], [`FormatError::UnknownVersion`], and [`FormatError::Rule`] when the footer does not
    /// name its own place.
    pub fn parse(shard: &[u8]) -> Result<Self, FormatError> {
        let offset = shard.len().saturating_sub(FOOTER_LEN);
        let mut input = shard.get(offset..).unwrap_or_default();
        if input.len() < FOOTER_LEN {
            return Err(FormatError::Truncated { what: WHAT, needed: FOOTER_LEN as u64, got: input.len() as u64 });
        }
        let version = take_u64(&mut input, WHAT)?;
        if version != VERSION {
            return Err(FormatError::UnknownVersion { what: WHAT, version });
        }
        take_slice(&mut input, 8 * 8, WHAT)?;
        let key: [u8; 32] = take(&mut input, WHAT)?;
        let created_s = take_u64(&mut input, WHAT)?;
        let expires_s = take_u64(&mut input, WHAT)?;
        take_slice(&mut input, (6 + 3) * 8, WHAT)?;
        if take_u64(&mut input, WHAT)? != offset as u64 {
            return Err(FormatError::Rule { what: WHAT, rule: "it names its own offset" });
        }
        Ok(Self { hmac_key: (key != [0; 32]).then_some(key), created_s, expires_s })
    }
}

/// Everything the writer puts into a footer.
#[derive(Default)]
pub(super) struct FooterFields {
    pub(super) file_section: u64,
    pub(super) xorb_section: u64,
    /// Offset and entries of the file, xorb and chunk tables.
    pub(super) tables: [(u64, u64); 3],
    pub(super) hmac_key: [u8; 32],
    pub(super) created_s: u64,
    pub(super) expires_s: u64,
    pub(super) stored_bytes: u64,
    pub(super) raw_bytes: u64,
}

impl FooterFields {
    /// Appends the footer to the shard it belongs to.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let offset = out.len() as u64;
        for word in [VERSION, self.file_section, self.xorb_section] {
            out.extend(word.to_le_bytes());
        }
        for (offset, entries) in self.tables {
            out.extend(offset.to_le_bytes());
            out.extend(entries.to_le_bytes());
        }
        out.extend(self.hmac_key);
        out.extend(self.created_s.to_le_bytes());
        out.extend(self.expires_s.to_le_bytes());
        out.extend([0; 6 * 8]);
        // Bytes of files are 0: an answer tells of no file.
        for word in [self.stored_bytes, 0, self.raw_bytes, offset] {
            out.extend(word.to_le_bytes());
        }
    }
}
