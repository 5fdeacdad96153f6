//! zstd frames: the entropy coder of planes, and codec 5 for bytes that are no numbers.
//!
//! What lies between tensors is text, records of archives and tables of words. Codec 5 stores such a block as one frame,
//! nothing beside it. A frame is decoded into a buffer of the length that the descriptor names, in one call: it needs no
//! window of its own, whatever it says about one, and not a byte more than that length can come out.

use std::cell::RefCell;
use std::thread::LocalKey;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, ParamSwitch, compress_bound, min_c_level};

use super::error::CodecError;
use super::{Level, MAX_BLOCK_BYTES};

/// The smallest window that holds a block: matches never reach out of it.
const WINDOW_LOG: u32 = MAX_BLOCK_BYTES.ilog2();
const FAST_LEVEL: i32 = 3;
const COLD_LEVEL: i32 = 19;

/// What a frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Huffman-coded literals, and next to no matches.
    Literals,
    /// Matches that are found at first sight.
    Runs,
    /// Text, as thoroughly as the level says.
    Text(Level),
}

thread_local! {
    static LITERALS: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static RUNS: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static TEXT: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Writes a frame of `bytes` to a buffer, which is emptied first and grows as it must; nothing when zstd refuses.
pub fn compress_to(bytes: &[u8], style: Style, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(compress_bound(bytes.len()));
    let kept: &'static LocalKey<RefCell<Option<CCtx<'static>>>> = match style {
        Style::Literals => &LITERALS,
        Style::Runs => &RUNS,
        Style::Text(Level::Fast) => &TEXT,
        // Its tables have several megabytes, which no thread keeps.
        Style::Text(Level::Cold) => return with(&mut context(style), bytes, out),
    };
    kept.with_borrow_mut(|slot| with(slot.get_or_insert_with(|| context(style)), bytes, out));
}

fn with(context: &mut CCtx, bytes: &[u8], out: &mut Vec<u8>) {
    if context.compress2(out, bytes).is_err() {
        out.clear();
    }
}

fn context(style: Style) -> CCtx<'static> {
    let level = match style {
        // The fastest level looks for next to no matches; its literals would stay raw unless told otherwise.
        Style::Literals => min_c_level(),
        Style::Runs => 1,
        Style::Text(Level::Fast) => FAST_LEVEL,
        Style::Text(Level::Cold) => COLD_LEVEL,
    };
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::LiteralCompressionMode(ParamSwitch::Enable),
        CParameter::ContentSizeFlag(false),
        CParameter::WindowLog(WINDOW_LOG),
    ] {
        // A refused parameter makes the frame larger and not wrong.
        let _ = context.set_parameter(parameter);
    }
    context
}

/// Writes what the frame holds to `bytes`, whose length says how much there is.
///
/// # Errors
/// [`CodecError::Damaged`] when it holds more, less, or is no frame.
pub fn decompress(frame: &[u8], bytes: &mut [u8]) -> Result<(), CodecError> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let written = slot.get_or_insert_with(DCtx::create).decompress(&mut *bytes, frame);
        if written.ok() == Some(bytes.len()) { Ok(()) } else { Err(CodecError::Damaged { what: "zstd frame" }) }
    })
}
