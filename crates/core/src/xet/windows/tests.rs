use weighthouse_format::xet::hash::chunk_hash;

use super::*;

/// A length in [`STEADY`].
const LEN: u32 = 40_000;

/// Terms of `lens`, each list the raw lengths of the chunks of one term.
fn terms(lens: &[&[u32]]) -> Vec<Vec<XorbChunk>> {
    let mut number = 0u64;
    let chunk = |raw_len: &u32| {
        number += 1;
        let hash = chunk_hash(&number.to_le_bytes());
        XorbChunk { hash, raw_len: *raw_len, stored_len: 1, offset: 0, crc32c: 0 }
    };
    let mut chunk = chunk;
    lens.iter().map(|lens| lens.iter().map(&mut chunk).collect()).collect()
}

type Divided = (Vec<Range<u64>>, Vec<Option<Subtree>>, Vec<XetHash>);

fn divide(terms: &[Vec<XorbChunk>], edits: &[Range<u64>], room: usize) -> Divided {
    let mut divider = Divider::new(edits, room);
    terms.iter().for_each(|chunks| divider.push(chunks));
    let found = divider.finish();
    assert_eq!(found.1.len(), found.0.len() + 1);
    assert!(found.0.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", found.0);
    found
}

fn only(windows: &[Range<u64>]) -> Range<u64> {
    assert_eq!(windows.len(), 1, "{windows:?}");
    windows[0].clone()
}

fn one(position: u64) -> Range<u64> {
    position..position + 1
}

#[test]
fn a_window_ends_with_a_term_after_two_steady_chunks() {
    let len = u64::from(LEN);
    let terms = terms(&[&[LEN; 2][..]; 8]);
    let (windows, gaps, hashes) = divide(&terms, &[one(2 * len)], MAX_NODES);
    assert_eq!(only(&windows), 2 * len..6 * len);
    assert!(gaps.iter().all(Option::is_some));
    assert_eq!(hashes.len(), 6, "one for each term that stays");
    assert_eq!(hashes[0], range_hash(terms[0].iter().map(|chunk| &chunk.hash)));
}

#[test]
fn chunks_cut_by_force_do_not_end_a_window() {
    let forced = MAX_CHUNK as u32;
    let terms = terms(&[&[forced; 3], &[LEN, forced], &[LEN, 9_000, LEN], &[LEN], &[LEN]]);
    let (windows, gaps, hashes) = divide(&terms, &[one(0)], MAX_NODES);
    let end = 4 * u64::from(forced) + 4 * u64::from(LEN) + 9_000;
    assert_eq!(only(&windows), 0..end);
    assert_eq!((gaps[0].is_none(), hashes.len()), (true, 1));
}

#[test]
fn neighbouring_windows_become_one() {
    let len = u64::from(LEN);
    let terms = terms(&[&[LEN; 2][..]; 8]);
    let edits = [one(0), one(4 * len), one(4 * len + 5), one(8 * len - 1)];
    let (windows, gaps, hashes) = divide(&terms, &edits, MAX_NODES);
    assert_eq!(only(&windows), 0..10 * len);
    assert_eq!((gaps[0].is_none(), hashes.len()), (true, 3));
}

#[test]
fn a_window_may_reach_the_end() {
    let len = u64::from(LEN);
    let terms = terms(&[&[LEN; 2][..]; 3]);
    for edit in [4 * len..6 * len, 4 * len..u64::MAX] {
        let (windows, gaps, _) = divide(&terms, &[edit], MAX_NODES);
        assert_eq!(only(&windows), 4 * len..6 * len);
        assert!(gaps[0].is_some() && gaps[1].is_none());
    }
}

#[test]
fn what_does_not_fit_into_the_answer_is_cut_anew() {
    let len = u64::from(LEN);
    // The same chunk over and over: no boundary of the tree is certain, so a gap would hold every chunk.
    let zeros = vec![vec![terms(&[&[LEN]])[0][0]; 10]; 50];
    for room in [0, 9, 10, 35, 400] {
        for edit in [0, 200 * len, 499 * len] {
            let (windows, gaps, hashes) = divide(&zeros, &[one(edit)], room);
            let nodes = |tree: &Subtree| tree.levels.iter().map(|l| l.left.len() + l.right.len()).sum::<usize>();
            assert!(gaps.iter().flatten().map(nodes).sum::<usize>() <= room);
            let cut: u64 = windows.iter().map(|window| window.end - window.start).sum();
            assert_eq!(cut + hashes.len() as u64 * 10 * len, 500 * len, "every term is in one window or one gap");
            assert!(windows.iter().any(|window| window.contains(&edit)));
        }
    }
}
