//! Files sent as stock clients send them: chunks that are stored already are named, wherever they lie.

use std::convert::Infallible;

use futures::stream;
use weighthouse_format::xet::hash::HashTree;
use weighthouse_format::xet::shard::{Shard, ShardChunk, ShardFile, ShardXorb, Term};
use weighthouse_format::xet::xorb::{SchemeChoice, XorbBuilder, XorbListing};

use super::material::{Model, normal};
use super::*;
use crate::commit::{CommitMessage, Target};

const CHUNK: usize = 20_000;

/// Commits a file as `model.safetensors`. Of its chunks those that the file `before` has in the same place are named; the
/// others make a xorb, which is returned.
async fn send(
    ground: &Ground,
    repo: &Repo,
    data: &[u8],
    before: Option<(&[u8], &XorbListing)>,
) -> (Revision, XorbListing) {
    let mut builder = XorbBuilder::new(SchemeChoice::Auto);
    let mut tree = HashTree::new();
    // Of each chunk whether it is new, and its number in its xorb.
    let mut places: Vec<(bool, u32)> = Vec::new();
    for (number, chunk) in (0u32..).zip(data.chunks(CHUNK)) {
        let known = before.filter(|(old, _)| old.chunks(CHUNK).nth(number as usize) == Some(chunk));
        match known {
            Some((_, listing)) => {
                tree.push(listing.chunks[number as usize].hash, chunk.len() as u64);
                places.push((false, number));
            }
            None => {
                places.push((true, builder.chunks().len() as u32));
                tree.push(builder.push(chunk).unwrap(), chunk.len() as u64);
            }
        }
    }
    let xorb = builder.finish().unwrap();
    let mut file = ShardFile {
        file_hash: tree.file_hash(),
        terms: Vec::new(),
        range_hashes: Some(Vec::new()),
        sha256: Some(Sha256::of(data).0),
    };
    for run in places.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
        let listing = if run[0].0 { &xorb.listing } else { before.unwrap().1 };
        let (start, end) = (run[0].1, run[0].1 + run.len() as u32);
        let unpacked_bytes = listing.raw_len_of(start..end).unwrap();
        file.terms.push(Term { xorb: listing.hash, unpacked_bytes, start, end });
        file.range_hashes.as_mut().unwrap().push(listing.range_hash(start..end).unwrap());
    }
    let mut offset = 0;
    let chunks = xorb.listing.chunks.iter().map(|chunk| {
        let listed = ShardChunk { hash: chunk.hash, offset, raw_len: chunk.raw_len, dedup_candidate: false };
        offset += chunk.raw_len;
        listed
    });
    let listed = ShardXorb {
        hash: xorb.listing.hash,
        raw_bytes: xorb.listing.raw_len,
        stored_bytes: xorb.listing.body_len,
        chunks: chunks.collect(),
    };
    let shard = Shard { files: vec![file], xorbs: vec![listed] }.to_upload().unwrap();

    let (hub, ada) = (&ground.hub, &ground.callers["ada"]);
    let body = stream::iter([Ok::<_, Infallible>(xorb.body.into())]);
    hub.put_xorb(ada, repo, xorb.listing.hash, body).await.unwrap();
    hub.put_shard(ada, repo, shard.into(), |_| ()).await.unwrap();
    let message = CommitMessage { title: "t".to_owned(), body: String::new() };
    let mut commit = hub.begin_commit(ada, repo, Target::branch(MAIN, None).unwrap(), message).unwrap();
    commit.put_lfs("model.safetensors", Sha256::of(data), Some(data.len() as u64)).unwrap();
    let revision = commit.finish().await.unwrap();
    hub.work_off().await.unwrap();
    (revision, xorb.listing)
}

/// A model, and the same with the last 120 of the 300 rows of one tensor trained.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let mut model = Model::new(21);
    let before = model.safetensors(Dtype::F32);
    let (_, values) = model.0.get_mut("model.embed_tokens.weight").unwrap();
    let rows = &mut values[180 * 128..];
    let steps = normal(5, rows.len(), 2e-4);
    rows.iter_mut().zip(steps).for_each(|(value, step)| *value += step);
    (before, model.safetensors(Dtype::F32))
}

#[tokio::test]
async fn what_lies_beside_a_coded_xorb_leans_on_the_file_in_it() {
    let ground = ground().await;
    let repo = ground.repo("ada", "ada/m", false).await;
    let (before, after) = versions();
    let (first, xorb) = send(&ground, &repo, &before, None).await;
    ground.repack().await;
    let (second, beside) = send(&ground, &repo, &after, Some((&before, &xorb))).await;
    assert!(u64::from(beside.raw_len) < 120 * 128 * 4 + 2 * CHUNK as u64, "the rest was not sent again");
    ground.repack().await;
    let makeup = ground.hub.catalog().recodes().makeup(&beside.hash).await.unwrap();
    let leaning = makeup.iter().filter(|part| part.base == Some(Sha256::of(&before)));
    assert!(leaning.map(|part| part.raw_bytes).sum::<u64>() >= 100 * 128 * 4, "{makeup:?}");
    let makeup = ground.hub.catalog().recodes().makeup(&xorb.hash).await.unwrap();
    assert!(makeup.iter().all(|part| part.base.is_none()), "a base does not need what needs it: {makeup:?}");
    ground.check(&first, &[("model.safetensors", &before)]).await;
    ground.check(&second, &[("model.safetensors", &after)]).await;
}

#[tokio::test]
async fn what_lies_beside_a_xorb_that_is_not_coded_stands_alone() {
    let ground = ground().await;
    let repo = ground.repo("ada", "ada/m", false).await;
    let (before, after) = versions();
    let (first, xorb) = send(&ground, &repo, &before, None).await;
    let (second, _) = send(&ground, &repo, &after, Some((&before, &xorb))).await;
    // The later one first, as if somebody had asked for it alone.
    let plan = ground.plan(&repo, &second, RepackPolicy::Full).await;
    assert!(planned(&plan, &after).runs.iter().all(|run| run.base.is_none()));
    ground.repack().await;
    ground.check(&first, &[("model.safetensors", &before)]).await;
    ground.check(&second, &[("model.safetensors", &after)]).await;
}
