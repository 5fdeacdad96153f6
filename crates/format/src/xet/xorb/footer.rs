//! The footer that older clients append to a body and expect after it.
//!
//! | part | bytes |
//! |---|---|
//! | `XETBLOB`, 1, xorb hash | 40 |
//! | `XBLBHSH`, 0, count u32, one chunk hash each | 12 + 32·n |
//! | `XBLBBND`, 1, count u32, end offset u32 of each record, end u32 of each raw chunk | 12 + 8·n |
//! | count u32, distance u32 from the end to the second and to the third part, 16 zero bytes | 28 |
//! | length u32 of all of the above | 4 |

use super::listing::XorbListing;
use super::{FOOTER_IDENT, MAX_XORB_CHUNKS};
use crate::error::FormatError;

/// Bytes of a footer of version 1 for `count` chunks, with its trailing length.
pub(super) const fn len_v1(count: usize) -> usize {
    len_of_tail(count) + len_of_hashes(count) + 40 + 4
}

const fn len_of_hashes(count: usize) -> usize {
    12 + 32 * count
}

/// Third part and last part, without the trailing length.
const fn len_of_tail(count: usize) -> usize {
    12 + 8 * count + 28
}

/// Appends the footer of version 1 that belongs to `listing`.
pub fn write_footer(listing: &XorbListing, out: &mut Vec<u8>) {
    let chunks = &listing.chunks;
    let count = (chunks.len() as u32).to_le_bytes();
    out.reserve(len_v1(chunks.len()));
    out.extend(FOOTER_IDENT);
    out.push(1);
    out.extend(listing.hash.as_bytes());

    out.extend(b"XBLBHSH\0");
    out.extend(count);
    for chunk in chunks {
        out.extend(chunk.hash.as_bytes());
    }

    out.extend(b"XBLBBND\x01");
    out.extend(count);
    for chunk in chunks {
        out.extend(chunk.end().to_le_bytes());
    }
    let mut raw_end = 0u32;
    for chunk in chunks {
        raw_end = raw_end.wrapping_add(chunk.raw_len);
        out.extend(raw_end.to_le_bytes());
    }

    let tail = len_of_tail(chunks.len());
    out.extend(count);
    out.extend(((tail + len_of_hashes(chunks.len())) as u32).to_le_bytes());
    out.extend((tail as u32).to_le_bytes());
    out.extend([0; 16]);
    out.extend((len_v1(chunks.len()) as u32 - 4).to_le_bytes());
}

/// Swallows a footer: its frame is checked, its content ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct FooterSkipper {
    len: usize,
    /// First eight bytes, as far as seen.
    head: [u8; 8],
    /// Last four bytes seen, oldest first.
    last: [u8; 4],
}

impl FooterSkipper {
    /// Takes more bytes; the footer of `count` chunks must not be longer than the longest kind of footer.
    pub(super) fn push(&mut self, bytes: &[u8], count: usize) -> Result<(), FormatError> {
        let limit = len_v1(count.min(MAX_XORB_CHUNKS));
        if bytes.len() > limit - self.len {
            return Err(FormatError::TooLarge {
                what: "footer length in bytes",
                size: self.len as u64 + bytes.len() as u64,
                limit: limit as u64,
            });
        }
        for (place, &byte) in self.head.iter_mut().skip(self.len).zip(bytes) {
            *place = byte;
        }
        self.len += bytes.len();
        let seen = self.len.min(8);
        let [ident @ .., version] = self.head;
        if ident.iter().zip(FOOTER_IDENT).take(seen).any(|(&byte, expected)| byte != expected) {
            return Err(FormatError::BadMagic { what: "xorb footer" });
        }
        if seen == 8 && version > 1 {
            return Err(FormatError::UnknownVersion { what: "xorb footer", version: version.into() });
        }
        for &byte in bytes.get(bytes.len().saturating_sub(4)..).unwrap_or_default() {
            self.last.rotate_left(1);
            self.last[3] = byte;
        }
        Ok(())
    }

    /// Checks that the footer is whole and returns its length in bytes.
    pub(super) fn finish(&self) -> Result<usize, FormatError> {
        let shortest = 40 + 4;
        if self.len < shortest {
            return Err(FormatError::Truncated { what: "xorb footer", needed: shortest as u64, got: self.len as u64 });
        }
        let announced = u64::from(u32::from_le_bytes(self.last));
        let actual = self.len as u64 - 4;
        if announced != actual {
            return Err(FormatError::LengthMismatch { what: "footer length in bytes", expected: announced, actual });
        }
        Ok(self.len)
    }
}
