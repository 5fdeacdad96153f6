use proptest::prelude::*;

use super::{Chunker, MAX_CHUNK, MIN_CHUNK};

/// Reproducible bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("weighthouse chunker test")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Chunk lengths when `data` comes in pieces of the given lengths, over and over.
fn lengths(data: &[u8], pieces: &[usize]) -> Vec<usize> {
    let mut chunker = Chunker::new();
    let mut found = Vec::new();
    let mut rest = data;
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, tail) = rest.split_at(piece.clamp(1, rest.len()));
        rest = tail;
        loop {
            let before = chunker.pending();
            let Some(len) = chunker.next_boundary(piece) else {
                break;
            };
            assert!((1..=piece.len()).contains(&len));
            found.push(before + len);
            piece = &piece[len..];
        }
    }
    found.extend(chunker.finish());
    assert_eq!(chunker.finish(), None);
    found
}

/// The rule byte by byte, without skipping.
fn lengths_by_rule(data: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut hash = 0u64;
    for (at, &byte) in data.iter().enumerate() {
        let len = at - start + 1;
        if len > MIN_CHUNK - 65 {
            hash = (hash << 1).wrapping_add(gearhash::DEFAULT_TABLE[usize::from(byte)]);
        }
        if len >= MIN_CHUNK && hash >> 48 == 0 || len == MAX_CHUNK {
            found.push(len);
            start = at + 1;
            hash = 0;
        }
    }
    if start < data.len() {
        found.push(data.len() - start);
    }
    found
}

/// Repeats noise so that matches before the minimum and after the maximum occur.
fn repetitive(seed: u64, period: usize, len: usize) -> Vec<u8> {
    noise(seed, period).into_iter().cycle().take(len).collect()
}

#[test]
fn cuts_follow_the_rule() {
    for seed in 0..4 {
        let data = noise(seed, 3_000_000);
        assert_eq!(lengths(&data, &[usize::MAX]), lengths_by_rule(&data));
    }
}

#[test]
fn cuts_follow_the_rule_where_matches_come_early() {
    // With a short period, a match can recur in every chunk, also before the minimum.
    for period in [1, 7, 64, 65, 1000, 4096, 8191, 8192, 70_000] {
        for seed in 0..20 {
            let data = repetitive(seed, period, 400_000);
            assert_eq!(lengths(&data, &[usize::MAX]), lengths_by_rule(&data), "period {period}");
        }
    }
}

#[test]
fn a_match_before_the_minimum_does_not_count() {
    for (hashed, cut) in [(20, None), (63, None), (64, None), (65, Some(MIN_CHUNK)), (66, Some(MIN_CHUNK + 1))] {
        // Bytes that match when the hash starts with them.
        let tail = (0..)
            .map(|seed| noise(seed, hashed))
            .find(|tail| {
                let add = |hash: u64, &byte: &u8| (hash << 1).wrapping_add(gearhash::DEFAULT_TABLE[usize::from(byte)]);
                (1..=hashed).all(|len| (tail[..len].iter().fold(0, add) >> 48 == 0) == (len == hashed))
            })
            .unwrap();
        let data = [vec![0; MIN_CHUNK - 65], tail, vec![0; MAX_CHUNK]].concat();
        let found = lengths(&data, &[usize::MAX]);
        assert_eq!(found, lengths_by_rule(&data));
        assert_eq!(found[0], cut.unwrap_or(MAX_CHUNK), "{hashed} bytes hashed");
    }
}

#[test]
fn edges_of_the_length_range_hold() {
    assert!(lengths(&[], &[1]).is_empty());
    assert_eq!(lengths(&[7], &[1]), [1]);
    let zeros = vec![0; 2 * MAX_CHUNK + 1];
    assert_eq!(lengths(&zeros, &[usize::MAX]), [MAX_CHUNK, MAX_CHUNK, 1]);
    assert_eq!(lengths(&zeros[..MAX_CHUNK], &[1]), [MAX_CHUNK]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn cuts_do_not_depend_on_the_split(
        seed: u64,
        len in 0usize..600_000,
        period in prop_oneof![Just(usize::MAX), 1usize..100_000],
        pieces in prop::collection::vec(prop_oneof![1usize..100, 7_000usize..9_000, 1usize..200_000], 1..8),
    ) {
        let data = if period == usize::MAX { noise(seed, len) } else { repetitive(seed, period, len) };
        let found = lengths(&data, &pieces);
        prop_assert_eq!(&found, &lengths_by_rule(&data));
        prop_assert_eq!(found.iter().sum::<usize>(), len);
        if let Some((_, all_but_last)) = found.split_last() {
            prop_assert!(all_but_last.iter().all(|len| (MIN_CHUNK..=MAX_CHUNK).contains(len)));
        }
    }
}
