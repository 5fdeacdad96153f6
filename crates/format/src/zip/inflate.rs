//! Deflate streams, decoded within limits.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use crate::error::FormatError;
use crate::limits::Limits;

/// Streams whose output stays below this are never refused for their ratio.
const FREE_BYTES: u64 = 16 << 20;

/// Decodes a raw deflate stream that must give exactly `size` bytes.
///
/// # Errors
/// [`FormatError::TooLarge`] above `limits.decoded_bytes` or `limits.inflate_ratio`, before anything is allocated;
/// [`FormatError::Broken`] or [`FormatError::LengthMismatch`] for a wrong stream.
pub(super) fn inflate(stream: &[u8], size: u64, limits: &Limits) -> Result<Vec<u8>, FormatError> {
    Limits::at_most("decompressed zip member in bytes", size, limits.decoded_bytes)?;
    if size > FREE_BYTES {
        let ratio = size / (stream.len() as u64).max(1);
        Limits::at_most("compression ratio of a zip member", ratio, limits.inflate_ratio)?;
    }
    let wrong = |detail: String| FormatError::Broken { what: "deflate stream of a zip member", at: 0, detail };
    let len = usize::try_from(size).map_err(|_| wrong(format!("`{size}` bytes do not fit the memory")))?;
    // One byte more shows a stream that goes on.
    let mut out = vec![0; len + 1];
    let mut state = DecompressorOxide::new();
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, written) = decompress(&mut state, stream, &mut out, 0, flags);
    if written != len || !matches!(status, TINFLStatus::Done) {
        if written > len || matches!(status, TINFLStatus::Done) {
            let (expected, actual) = (size, written as u64);
            return Err(FormatError::LengthMismatch { what: "decompressed zip member in bytes", expected, actual });
        }
        return Err(wrong(format!("it ends after {written} of {size} bytes")));
    }
    out.truncate(len);
    Ok(out)
}
