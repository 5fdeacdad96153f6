//! The decoder of stored tensors, in `crates/store`. Its source is taken in by itself, so that the fuzzer needs no
//! database.

#[path = "../crates/store/src/blob/codec/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the fuzzer only decodes")]
mod whole;

use whole::{Descriptor, container, decode_block};

/// The bytes as a container, and as one block: a descriptor, then what is stored, which also serves as the base.
pub fn run(data: &[u8]) {
    if let Ok(blocks) = container::read(data) {
        let base = blocks.first().map(|block| block.1);
        for (descriptor, stored) in &blocks {
            decode(*descriptor, stored, base.unwrap_or_default());
        }
    }
    if let Some((head, stored)) = data.split_first_chunk()
        && let Ok(descriptor) = Descriptor::from_bytes(head)
    {
        decode(descriptor, stored, data);
    }
}

/// Decodes with checksum and lengths that are right, so that the bytes reach the decoders.
fn decode(descriptor: Descriptor, stored: &[u8], base: &[u8]) {
    let descriptor =
        Descriptor { stored_len: stored.len() as u32, crc32c: crc_fast::crc32_iscsi(stored), ..descriptor };
    let raw_len = descriptor.raw_len as usize;
    for base_len in [raw_len / 2, raw_len, raw_len * 2] {
        let base: Vec<u8> = base.iter().copied().cycle().take(base_len).collect();
        if let Ok(raw) = decode_block(&descriptor, stored, Some(&base)) {
            assert_eq!(raw.len(), raw_len);
        }
    }
}
