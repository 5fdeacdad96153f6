use super::*;
use crate::xet::hash::{chunk_hash, root};

fn chunks(count: u64) -> Vec<Node> {
    (0..count).map(|i| (chunk_hash(&i.to_le_bytes()), 1 + i % 1000)).collect()
}

fn subtree(at_start: bool, chunks: &[Node], at_end: bool) -> Option<Subtree> {
    let mut builder = SubtreeBuilder::new(at_start);
    chunks.iter().for_each(|(hash, len)| builder.push(*hash, *len));
    builder.finish(at_end)
}

fn nodes(subtree: &Subtree) -> usize {
    subtree.levels.iter().map(|level| level.left.len() + level.right.len()).sum()
}

#[test]
fn a_whole_file_comes_down_to_its_root() {
    for count in (1..300).chain([5_000]) {
        let chunks = chunks(count);
        let whole = subtree(true, &chunks, true).unwrap();
        let [.., top] = whole.levels.as_slice() else { panic!("no levels") };
        let bytes = chunks.iter().map(|(_, len)| len).sum();
        assert_eq!(top.left, [(root(&chunks), bytes)], "{count} chunks");
        assert_eq!(nodes(&whole), 1);
    }
}

#[test]
fn no_chunks_are_no_subtree() {
    assert_eq!(subtree(true, &[], true), None);
    assert_eq!(subtree(false, &[], false), None);
}

#[test]
fn a_long_run_keeps_few_nodes_and_all_bytes() {
    let chunks = chunks(200_000);
    let bytes: u64 = chunks.iter().map(|(_, len)| len).sum();
    for (at_start, at_end) in [(false, false), (false, true), (true, false)] {
        let run = subtree(at_start, &chunks, at_end).unwrap();
        assert!(nodes(&run) < 1_000, "{} nodes", nodes(&run));
        let all = run.levels.iter().flat_map(|level| level.left.iter().chain(&level.right));
        assert_eq!(all.map(|(_, len)| len).sum::<u64>(), bytes);
        assert!(!at_start || run.levels.iter().rev().skip(1).all(|level| level.left.is_empty()));
        assert!(!at_end || run.levels.iter().all(|level| level.right.is_empty()));
    }
}

#[test]
fn what_the_builder_holds_is_known_while_it_grows() {
    let one = chunks(1)[0];
    let mut builder = SubtreeBuilder::new(false);
    for count in 1..=1_000 {
        builder.push(one.0, one.1);
        assert_eq!(builder.nodes(), count, "the same chunk over and over has no certain boundaries");
    }
    let mut builder = SubtreeBuilder::new(true);
    chunks(50_000).into_iter().for_each(|(hash, len)| builder.push(hash, len));
    let held = builder.nodes();
    assert_eq!(nodes(&builder.finish(false).unwrap()), held);
}
