use proptest::prelude::*;

use super::{HashTree, XetHash, chunk_hash, file_hash, parent, range_hash, root};

fn hash(seed: u64) -> XetHash {
    XetHash::from_bytes(*blake3::hash(&seed.to_le_bytes()).as_bytes())
}

/// The tree as the protocol describes it, level by level.
fn root_by_levels(chunks: &[(XetHash, u64)]) -> XetHash {
    let mut nodes = chunks.to_vec();
    while nodes.len() > 1 {
        let mut parents = Vec::new();
        let mut rest = nodes.as_slice();
        while !rest.is_empty() {
            let most = rest.len().min(9);
            let cut = (2..most).find(|&i| rest[i].0.as_bytes()[24].is_multiple_of(4)).map_or(most, |i| i + 1);
            parents.push(parent(&rest[..cut]));
            rest = &rest[cut..];
        }
        nodes = parents;
    }
    nodes.first().map_or(XetHash::ZERO, |node| node.0)
}

#[test]
fn text_swaps_the_bytes_of_each_word() {
    let bytes = std::array::from_fn(|i| i as u8);
    let hash = XetHash::from_bytes(bytes);
    let text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918";
    assert_eq!(hash.to_string(), text);
    assert_eq!(text.parse::<XetHash>().unwrap(), hash);
    assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<XetHash>(&format!("\"{text}\"")).unwrap(), hash);
}

#[test]
fn text_of_a_swapped_sha256_is_its_usual_text() {
    let digest: [u8; 32] = std::array::from_fn(|i| i as u8);
    let usual: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(XetHash::from_sha256(&digest).to_string(), usual);
    assert_eq!(XetHash::from_sha256(&digest).to_sha256(), digest);
}

#[test]
fn only_the_one_spelling_is_read() {
    let good = hash(1).to_string();
    for bad in [
        String::new(),
        good[1..].to_owned(),
        format!("{good}0"),
        good.replace(|c: char| c.is_ascii_digit(), "A"),
        format!("é{}", &good[2..]),
    ] {
        assert!(bad.parse::<XetHash>().is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<XetHash>("7").is_err());
}

/// Vectors published with the reference implementation.
#[test]
fn roots_agree_with_published_vectors() {
    let one: XetHash = "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6".parse().unwrap();
    assert_eq!(root(&[(one, 100)]), one);
    assert_eq!(
        file_hash(&[(one, 100)]).to_string(),
        "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661"
    );
    assert_eq!(
        file_hash(&[(XetHash::ZERO, 0)]).to_string(),
        "638a6bc391964a85939d48f008e8bdbae6a7975e7ca2d87a3ce2492f4e4d8a4c"
    );
}

#[test]
fn nothing_hashes_to_zero() {
    assert_eq!(root(&[]), XetHash::ZERO);
    assert_eq!(file_hash(&[]), XetHash::ZERO);
}

#[test]
fn every_small_tree_has_the_described_shape() {
    for count in 0..300 {
        let chunks: Vec<_> = (0..count).map(|i| (hash(i), i * 977)).collect();
        assert_eq!(root(&chunks), root_by_levels(&chunks), "{count} chunks");
    }
}

#[test]
fn the_tree_keeps_one_open_group_per_level() {
    let mut tree = HashTree::new();
    for i in 0..200_000 {
        tree.push(hash(i), u64::MAX);
    }
    assert!(tree.levels.len() < 12, "{} levels", tree.levels.len());
    assert!(tree.levels.iter().all(|level| level.open.capacity() <= 16));
}

#[test]
fn eligibility_looks_at_the_last_word() {
    let mut bytes = [0xFF; 32];
    bytes[24] = 0;
    bytes[25] = 0xFC;
    assert!(XetHash::from_bytes(bytes).is_global_dedup_eligible());
    bytes[25] = 0xFD;
    assert!(!XetHash::from_bytes(bytes).is_global_dedup_eligible());
}

#[test]
fn kinds_of_hashes_differ() {
    let chunk = chunk_hash(b"x");
    assert_ne!(chunk, XetHash::from_bytes(*blake3::hash(b"x").as_bytes()));
    assert_ne!(range_hash([&chunk]), chunk);
    assert_ne!(chunk.keyed(&[1; 32]), chunk.keyed(&[2; 32]));
}

proptest! {
    #[test]
    fn text_comes_back(bytes: [u8; 32]) {
        let hash = XetHash::from_bytes(bytes);
        prop_assert_eq!(hash.to_string().parse::<XetHash>().unwrap(), hash);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,70}") {
        if let Ok(hash) = text.parse::<XetHash>() {
            prop_assert_eq!(hash.to_string(), text);
        }
    }

    /// Few distinct hashes and last bytes make cuts frequent, rare, and late.
    #[test]
    fn the_streamed_root_is_the_root_by_levels(seeds: Vec<(u8, u64)>, mask: u8) {
        let chunks: Vec<_> = seeds
            .iter()
            .map(|&(seed, size)| {
                let mut bytes = *hash(seed.into()).as_bytes();
                bytes[24] |= mask & 3;
                (XetHash::from_bytes(bytes), size >> 8)
            })
            .collect();
        prop_assert_eq!(root(&chunks), root_by_levels(&chunks));
    }
}
