use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use std::io::Write;

use super::footer::len_v1;
use super::*;
use crate::error::FormatError;
use crate::xet::chunker::MAX_CHUNK;
use crate::xet::hash::{XetHash, chunk_hash, xorb_hash};

const SCHEMES: [Scheme; 3] = [Scheme::None, Scheme::Lz4, Scheme::Bg4Lz4];

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Single-precision weights around zero: they shrink only when grouped.
fn weights(seed: u64, len: usize) -> Vec<u8> {
    noise(seed, len / 4 * 2).as_chunks::<2>().0.iter().flat_map(|&[a, b]| [a, b, a & 0x83, 0x3D]).collect()
}

fn choices() -> impl Strategy<Value = SchemeChoice> {
    prop::sample::select(vec![
        SchemeChoice::Auto,
        SchemeChoice::Always(Scheme::None),
        SchemeChoice::Always(Scheme::Lz4),
        SchemeChoice::Always(Scheme::Bg4Lz4),
    ])
}

fn raw_chunk() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300),
        prop::collection::vec(0u8..3, 1..3000),
        (any::<u64>(), 1usize..=MAX_CHUNK).prop_map(|(seed, len)| noise(seed, len)),
        (any::<u64>(), 4usize..=MAX_CHUNK).prop_map(|(seed, len)| weights(seed, len)),
        (any::<u8>(), 1usize..=MAX_CHUNK).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn build(chunks: &[Vec<u8>], choice: SchemeChoice) -> Xorb {
    let mut builder = XorbBuilder::new(choice);
    for chunk in chunks {
        builder.push(chunk).unwrap();
    }
    builder.finish().unwrap()
}

/// Verifies `bytes` given in pieces and returns the body as storage would get it.
fn verify(bytes: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, XorbListing), FormatError> {
    let mut verifier = XorbVerifier::new();
    let mut body = Vec::new();
    let mut rest = bytes;
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at(piece.clamp(1, rest.len()));
        let len = verifier.push(piece)?;
        body.extend_from_slice(&piece[..len]);
        rest = tail;
    }
    Ok((body, verifier.finish_unnamed()?))
}

fn record(version: u8, scheme: u8, stored: &[u8], stored_len: usize, raw_len: usize) -> Vec<u8> {
    let mut bytes = vec![version];
    bytes.extend(&(stored_len as u32).to_le_bytes()[..3]);
    bytes.push(scheme);
    bytes.extend(&(raw_len as u32).to_le_bytes()[..3]);
    bytes.extend(stored);
    bytes
}

fn reference_frame(raw: &[u8], info: FrameInfo) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn groups_take_every_fourth_byte() {
    for (raw, grouped) in [
        ("", ""),
        ("a", "a"),
        ("abc", "abc"),
        ("abcd", "abcd"),
        ("abcdABCD12", "aA1bB2cCdD"),
        ("abcdABCD123", "aA1bB2cC3dD"),
    ] {
        let mut planes = Vec::new();
        bg4::group(raw.as_bytes(), &mut planes);
        assert_eq!(planes, grouped.as_bytes());
        let mut back = vec![0; raw.len()];
        bg4::ungroup(&planes, &mut back);
        assert_eq!(back, raw.as_bytes());
    }
}

#[test]
fn weights_are_grouped_and_noise_is_stored_raw() {
    let mut out = Vec::new();
    assert_eq!(encode_chunk(&weights(1, 65_536), SchemeChoice::Auto, &mut out).unwrap().scheme(), Scheme::Bg4Lz4);
    let header = encode_chunk(&noise(1, 65_536), SchemeChoice::Auto, &mut out).unwrap();
    assert_eq!((header.scheme(), header.stored_len()), (Scheme::None, 65_536));
    let text = b"the same words again and again, ".repeat(100);
    let header = encode_chunk(&text, SchemeChoice::Auto, &mut out).unwrap();
    assert_eq!(header.scheme(), Scheme::Lz4);
    assert!(header.stored_len() < 200);
}

#[test]
fn a_trial_holds_for_32_chunks_or_until_the_next_file() {
    let (grouped, text) = (weights(1, 8192), b"words and words ".repeat(512));
    let mut encoder = ChunkEncoder::default();
    let scheme = |encoder: &mut ChunkEncoder, raw: &[u8]| encoder.encode(raw, &mut Vec::new()).unwrap().scheme();
    assert_eq!(scheme(&mut encoder, &grouped), Scheme::Bg4Lz4);
    for _ in 0..31 {
        assert_eq!(scheme(&mut encoder, &text), Scheme::Bg4Lz4);
    }
    assert_eq!(scheme(&mut encoder, &text), Scheme::Lz4);
    encoder.restart();
    assert_eq!(scheme(&mut encoder, &grouped), Scheme::Bg4Lz4);
}

#[test]
fn headers_outside_the_bounds_are_refused() {
    for (scheme, stored, raw) in [
        (0, 0, 0),
        (1, 0, 5),
        (0, 4, 5),
        (0, 5, 4),
        (1, 6, 5),
        (0, MAX_CHUNK + 1, MAX_CHUNK + 1),
        (1, 10, MAX_CHUNK + 1),
        (1, 0xFF_FFFF, 0xFF_FFFF),
        (3, 5, 5),
        (99, 5, 5),
    ] {
        let bytes = record(0, scheme, &[], stored, raw);
        assert!(ChunkHeader::parse(bytes.try_into().unwrap()).is_err(), "{scheme} {stored} {raw}");
    }
    assert!(ChunkHeader::parse([1, 5, 0, 0, 0, 5, 0, 0]).is_err());
    assert!(encode_chunk(&[], SchemeChoice::Auto, &mut Vec::new()).is_err());
    assert!(encode_chunk(&vec![0; MAX_CHUNK + 1], SchemeChoice::Auto, &mut Vec::new()).is_err());
}

#[test]
fn frames_of_every_kind_are_read() {
    let raw = b"some words, some more words, ".repeat(4000);
    let raw = &raw[..100_000];
    for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            for sums in [false, true] {
                for size in [None, Some(raw.len() as u64)] {
                    let info = FrameInfo::new()
                        .block_size(block_size)
                        .block_mode(block_mode)
                        .block_checksums(sums)
                        .content_checksum(sums)
                        .content_size(size);
                    let frame = reference_frame(raw, info);
                    let mut out = b"kept".to_vec();
                    decode_chunk(Scheme::Lz4, &frame, raw.len(), &mut out).unwrap();
                    assert_eq!(&out[4..], raw);
                    if sums {
                        let mut bad = frame.clone();
                        *bad.last_mut().unwrap() ^= 1;
                        assert!(matches!(
                            decode_chunk(Scheme::Lz4, &bad, raw.len(), &mut out),
                            Err(FormatError::ChecksumMismatch { .. })
                        ));
                        assert_eq!(out.len(), 4 + raw.len(), "an error leaves the output as it was");
                    }
                }
            }
        }
    }
}

#[test]
fn a_bomb_gets_no_more_room_than_announced() {
    // 4 MiB of zeros in a frame of some 16 KiB, announced as one chunk.
    let frame = reference_frame(&vec![0; 4 << 20], FrameInfo::new().block_size(BlockSize::Max4MB));
    assert!(frame.len() < MAX_CHUNK);
    for scheme in [Scheme::Lz4, Scheme::Bg4Lz4] {
        let mut out = Vec::new();
        assert!(decode_chunk(scheme, &frame, MAX_CHUNK, &mut out).is_err());
        assert!(out.is_empty());
        assert!(out.capacity() <= MAX_CHUNK);
    }
}

#[test]
fn frames_with_another_length_or_a_tail_are_refused() {
    let raw = vec![7; 1000];
    let frame = reference_frame(&raw, FrameInfo::new());
    let mut out = Vec::new();
    for raw_len in [999, 1001] {
        assert!(decode_chunk(Scheme::Lz4, &frame, raw_len, &mut out).is_err());
    }
    let mut tail = frame.clone();
    tail.push(0);
    assert!(matches!(decode_chunk(Scheme::Lz4, &tail, 1000, &mut out), Err(FormatError::TrailingBytes { len: 1, .. })));
    let twice = [frame.as_slice(), frame.as_slice()].concat();
    assert!(decode_chunk(Scheme::Lz4, &twice, 2000, &mut out).is_err());
    for len in 0..frame.len() {
        assert!(decode_chunk(Scheme::Lz4, &frame[..len], 1000, &mut out).is_err());
    }
    assert!(out.is_empty());
}

#[test]
fn the_footer_has_the_described_layout() {
    let xorb = build(&[noise(1, 100), noise(2, 50)], SchemeChoice::Auto);
    let mut footer = Vec::new();
    write_footer(&xorb.listing, &mut footer);
    assert_eq!(footer.len(), len_v1(2));
    assert_eq!(len_v1(0), 92 + 4);
    assert_eq!(&footer[..8], b"XETBLOB\x01");
    let (info, length) = footer.split_at(footer.len() - 4);
    assert_eq!(length, (info.len() as u32).to_le_bytes());
    let tail = &info[info.len() - 28..];
    let distance = |at: usize| u32::from_le_bytes(tail[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(&info[info.len() - distance(4)..][..8], b"XBLBHSH\0");
    assert_eq!(&info[info.len() - distance(8)..][..8], b"XBLBBND\x01");
}

#[test]
fn footers_are_told_from_the_body_and_ignored() {
    let xorb = build(&[noise(1, 100), weights(2, 5000)], SchemeChoice::Auto);
    let mut v1 = Vec::new();
    write_footer(&xorb.listing, &mut v1);
    let mut v0 = b"XETBLOB\0".to_vec();
    v0.extend([9; 32 + 4 + 2 * 36 + 16]);
    v0.extend((v0.len() as u32).to_le_bytes());
    for footer in [v0, v1] {
        let whole = [xorb.body.as_slice(), &footer].concat();
        for pieces in [vec![1], vec![usize::MAX], vec![3, 1000, 7]] {
            let (body, listing) = verify(&whole, &pieces).unwrap();
            assert_eq!(body, xorb.body);
            assert_eq!(listing.footer_len as usize, footer.len());
            assert_eq!(XorbListing { footer_len: 0, ..listing }, xorb.listing);
        }
        let tail = [whole.as_slice(), b"more"].concat();
        assert!(verify(&tail, &[50]).is_err(), "bytes after the footer");
        assert!(verify(&whole[..whole.len() - 1], &[50]).is_err(), "a cut footer");
        assert!(verify(&footer, &[50]).is_err(), "nothing but a footer");
    }
    for wrong in [&b"XETBLOB\x02"[..], b"XETBLOC\x01", b"X", b"XETBLOB\x01"] {
        let whole = [xorb.body.as_slice(), wrong].concat();
        assert!(verify(&whole, &[1]).is_err());
        assert!(verify(&whole, &[usize::MAX]).is_err());
    }
    let endless = [xorb.body.as_slice(), b"XETBLOB\x01", &[0; 10_000]].concat();
    assert!(verify(&endless, &[100]).is_err());
}

#[test]
fn another_name_is_refused() {
    let xorb = build(&[noise(1, 100)], SchemeChoice::Auto);
    let mut verifier = XorbVerifier::new();
    verifier.push(&xorb.body).unwrap();
    assert!(matches!(verifier.finish(&chunk_hash(b"other")), Err(FormatError::HashMismatch { .. })));
}

#[test]
fn an_empty_upload_is_refused() {
    assert!(matches!(XorbVerifier::new().finish(&XetHash::ZERO), Err(FormatError::Empty { .. })));
    assert!(matches!(XorbBuilder::default().finish(), Err(FormatError::Empty { .. })));
}

#[test]
fn a_verifier_that_refused_refuses_the_rest() {
    let xorb = build(&[noise(1, 100)], SchemeChoice::Auto);
    let mut verifier = XorbVerifier::new();
    assert!(verifier.push(&[1; 8]).is_err());
    assert!(verifier.push(&xorb.body).is_err());
    assert!(verifier.finish_unnamed().is_err());
}

#[test]
fn more_chunks_than_allowed_are_refused() {
    let mut builder = XorbBuilder::new(SchemeChoice::Always(Scheme::None));
    for _ in 0..MAX_XORB_CHUNKS {
        assert!(builder.fits(1));
        builder.push(b"x").unwrap();
    }
    assert!(!builder.fits(1));
    assert!(builder.push(b"x").is_err());
    let xorb = builder.finish().unwrap();
    assert_eq!(verify(&xorb.body, &[100_000]).unwrap().1, xorb.listing);
    let more = [xorb.body.as_slice(), &record(0, 0, b"x", 1, 1)].concat();
    assert!(matches!(verify(&more, &[100_000]), Err(FormatError::TooLarge { limit: 8192, .. })));
}

#[test]
fn more_raw_bytes_than_allowed_are_refused() {
    let mut builder = XorbBuilder::default();
    let zeros = vec![0; MAX_CHUNK];
    let mut count = 0;
    while builder.fits(MAX_CHUNK) {
        builder.push(&zeros).unwrap();
        count += 1;
    }
    assert_eq!(count * MAX_CHUNK as u64, MAX_XORB_RAW);
    assert!(!builder.fits(1));
    let xorb = builder.finish().unwrap();
    assert_eq!(verify(&xorb.body, &[999]).unwrap().1, xorb.listing);
    let more = [xorb.body.as_slice(), &record(0, 0, b"x", 1, 1)].concat();
    assert!(matches!(verify(&more, &[999]), Err(FormatError::TooLarge { limit: MAX_XORB_RAW, .. })));
}

#[test]
fn the_buffer_of_a_verifier_holds_one_chunk() {
    let xorb = build(&(0..40).map(|seed| noise(seed, MAX_CHUNK)).collect::<Vec<_>>(), SchemeChoice::Auto);
    let mut verifier = XorbVerifier::new();
    for piece in xorb.body.chunks(50_000) {
        verifier.push(piece).unwrap();
        assert!(verifier.part.capacity() <= 2 * (MAX_CHUNK + CHUNK_HEADER_LEN));
        assert!(verifier.raw.capacity() <= 2 * MAX_CHUNK);
    }
    assert_eq!(verifier.finish(&xorb.listing.hash).unwrap(), xorb.listing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_chunk_comes_back(raw in raw_chunk(), choice in choices()) {
        let mut out = b"before".to_vec();
        let header = encode_chunk(&raw, choice, &mut out).unwrap();
        let record = &out[6..];
        prop_assert_eq!(record.len(), header.record_len());
        prop_assert!(header.stored_len() <= raw.len());
        let (head, stored) = record.split_first_chunk().unwrap();
        prop_assert_eq!(ChunkHeader::parse(*head).unwrap(), header);
        let mut back = Vec::new();
        decode_chunk(header.scheme(), stored, header.raw_len(), &mut back).unwrap();
        prop_assert_eq!(back, raw);
    }

    #[test]
    fn a_xorb_comes_back_whatever_the_split(
        chunks in prop::collection::vec(raw_chunk(), 1..6),
        choice in choices(),
        footer: bool,
        pieces in prop::collection::vec(prop_oneof![1usize..12, 1usize..200_000], 1..5),
    ) {
        let xorb = build(&chunks, choice);
        let mut whole = xorb.body.clone();
        if footer {
            write_footer(&xorb.listing, &mut whole);
        }
        let (body, listing) = verify(&whole, &pieces).unwrap();
        prop_assert_eq!(&body, &xorb.body);
        prop_assert_eq!(&listing.chunks, &xorb.listing.chunks);
        let sizes: Vec<_> = chunks.iter().map(|raw| (chunk_hash(raw), raw.len() as u64)).collect();
        prop_assert_eq!(listing.hash, xorb_hash(&sizes));
        let count = chunks.len() as u32;
        prop_assert_eq!(listing.body_range(0..count), Some(0..xorb.body.len() as u32));
        prop_assert_eq!(listing.raw_len_of(0..count), Some(listing.raw_len));
        prop_assert_eq!(listing.range_hash(0..count + 1), None);
        for chunk in &listing.chunks {
            let record = &body[chunk.offset as usize..chunk.end() as usize];
            prop_assert_eq!(chunk.crc32c, crc_fast::crc32_iscsi(record));
        }
    }

    #[test]
    fn a_cut_xorb_is_refused_unless_cut_between_chunks(
        chunks in prop::collection::vec(raw_chunk(), 1..4),
        at: prop::sample::Index,
    ) {
        let xorb = build(&chunks, SchemeChoice::Auto);
        let cut = at.index(xorb.body.len());
        let between = xorb.listing.chunks.iter().any(|chunk| chunk.end() as usize == cut);
        prop_assert_eq!(verify(&xorb.body[..cut], &[77]).is_ok(), between);
    }

    #[test]
    fn a_changed_byte_never_keeps_the_name(
        chunks in prop::collection::vec(raw_chunk(), 1..3),
        at: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let xorb = build(&chunks, SchemeChoice::Auto);
        let mut body = xorb.body.clone();
        *at.get_mut(&mut body) ^= 1 << bit;
        // A flip may keep the meaning (another LZ4 spelling of the same bytes), but then the bytes are the same.
        if let Ok((_, listing)) = verify(&body, &[usize::MAX]) {
            let same = listing.chunks.iter().map(|c| c.hash).eq(xorb.listing.chunks.iter().map(|c| c.hash));
            prop_assert_eq!(listing.hash == xorb.listing.hash, same);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, pieces in prop::collection::vec(1usize..40, 1..4)) {
        let _ = verify(&bytes, &pieces);
        let _ = verify(&[&[0, 40, 0, 0, 1, 80, 0, 0][..], &bytes].concat(), &pieces);
    }

    #[test]
    fn arbitrary_frames_never_panic(
        tail: Vec<u8>,
        flags: u8,
        size: u8,
        raw_len in 1usize..5000,
        scheme in prop::sample::select(SCHEMES.to_vec()),
    ) {
        let mut frame = vec![0x04, 0x22, 0x4D, 0x18, flags, size];
        frame.push(twox_hash::XxHash32::oneshot(0, &[flags, size]).to_le_bytes()[1]);
        frame.extend(tail);
        let mut out = Vec::new();
        if decode_chunk(scheme, &frame, raw_len, &mut out).is_ok() {
            prop_assert_eq!(out.len(), raw_len);
        }
        prop_assert!(out.capacity() <= raw_len.max(frame.len()).max(8));
    }

    #[test]
    fn damaged_frames_never_panic(
        raw in raw_chunk(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        linked: bool,
    ) {
        let mode = if linked { BlockMode::Linked } else { BlockMode::Independent };
        let mut frame = reference_frame(&raw, FrameInfo::new().block_mode(mode).block_size(BlockSize::Max64KB));
        for (at, byte) in damage {
            *at.get_mut(&mut frame) = byte;
        }
        let mut out = Vec::new();
        let _ = decode_chunk(Scheme::Lz4, &frame, raw.len().max(frame.len()).min(MAX_CHUNK), &mut out);
        let _ = decode_chunk(Scheme::Bg4Lz4, &frame, raw.len().max(frame.len()).min(MAX_CHUNK), &mut out);
    }
}
