//! Changing a part of a file: what the client is told, and what it is not.

use serde_json::{Value, json};
use weighthouse::format::xet::hash::{HashTree, XetHash};
use weighthouse::format::xet::shard::{Shard, Term};
use weighthouse::format::xet::xorb::{SchemeChoice, XorbBuilder};
use weighthouse_testkit::noise;

use crate::site::{Answer, Site, lfs_file, sha256};
use crate::xet::{Upload, send_shard, send_xorb, token, upload};

/// Chunks in a term, bytes in a term.
const TERM: (u32, u64) = (2, 120_000);

/// An upload of five terms.
fn upload_in_terms(seed: u64) -> Upload {
    let mut up = upload(seed);
    let (listing, file) = (&up.xorb.listing, &mut up.shard.files[0]);
    let starts = (0..10).step_by(TERM.0 as usize);
    file.terms = starts
        .map(|start| Term { xorb: listing.hash, unpacked_bytes: TERM.1 as u32, start, end: start + TERM.0 })
        .collect();
    file.range_hashes = file.terms.iter().map(|term| listing.range_hash(term.start..term.end)).collect();
    up
}

async fn send(site: &Site, write: &str, up: &Upload) {
    send_xorb(site, write, &up.xorb.listing.hash, up.xorb.body.clone()).await.ok();
    send_shard(site, write, &up.shard).await.ok();
}

async fn windows(site: &Site, token: &str, file: &XetHash, ranges: &str) -> Answer {
    let path = format!("/xet/v2/file-chunk-hashes/{file}");
    site.ask_with(token, "GET", &path, &[("x-range-dirty", ranges)], "").await
}

#[tokio::test]
async fn a_part_of_a_file_is_replaced_without_its_chunks() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload_in_terms(31);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    send(&site, &write, &up).await;
    let file = &up.shard.files[0];
    let told = windows(&site, &write, &file.file_hash, "bytes=120000-239999").await.ok().json();
    assert_eq!(told["windows"], json!([{ "dirtyByteRange": [TERM.1, 3 * TERM.1] }]));
    assert_eq!((told["totalChunks"].as_u64(), told["fileSize"].as_u64()), (Some(10), Some(600_000)));
    let range_hashes = file.range_hashes.as_ref().unwrap();
    let stays: Vec<String> = [0, 3, 4].map(|term: usize| range_hashes[term].to_string()).into();
    assert_eq!(told["gapVerification"], json!(stays));
    let size = |range: &Value| range["nodes"].as_array().unwrap().iter().map(|n| n["size"].as_u64().unwrap()).sum();
    let sizes: Vec<u64> = told["hashRanges"].as_array().unwrap().iter().map(size).collect();
    assert_eq!(sizes, [TERM.1, 2 * TERM.1]);

    // The window comes in a xorb of its own; the rest are the old terms, proven by what was told.
    let mut data = up.data.clone();
    data[120_000..360_000].copy_from_slice(&noise(32, 240_000));
    let mut builder = XorbBuilder::new(SchemeChoice::Auto);
    data[120_000..360_000].chunks(60_000).for_each(|chunk| {
        builder.push(chunk).unwrap();
    });
    let xorb = builder.finish().unwrap();
    let mut tree = HashTree::new();
    let old = &up.xorb.listing.chunks;
    let chunks = old[..2].iter().chain(&xorb.listing.chunks).chain(&old[6..]);
    chunks.for_each(|chunk| tree.push(chunk.hash, chunk.raw_len.into()));
    let mut edited = file.clone();
    edited.file_hash = tree.file_hash();
    edited.sha256 = None;
    edited.terms.splice(1..3, [Term { xorb: xorb.listing.hash, unpacked_bytes: 240_000, start: 0, end: 4 }]);
    let told = |index: usize| stays[index].parse().unwrap();
    edited.range_hashes = Some(vec![told(0), xorb.listing.range_hash(0..4).unwrap(), told(1), told(2)]);
    send_xorb(&site, &write, &xorb.listing.hash, xorb.body).await.ok();
    send_shard(&site, &write, &Shard { files: vec![edited], xorbs: Vec::new() }).await.ok();
    site.commit("m", &[lfs_file("w.bin", &sha256(&data), data.len())]).await.ok();
    assert!(site.get("", "/ada/m/resolve/main/w.bin").await.ok().body == data);
}

#[tokio::test]
async fn ranges_that_make_no_sense_are_refused() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload_in_terms(33);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    send(&site, &write, &up).await;
    let file = up.shard.files[0].file_hash;
    let many: Vec<String> = (0..500).map(|i| format!("{}-{}", 2 * i + 1, 2 * i)).collect();
    for ranges in [
        "",
        "bytes=",
        "bytes=-",
        "bytes=-5",
        "bytes=5-",
        "bytes=9-3",
        "bytes=a-b",
        "bytes=0-1,",
        "bytes=0-10,5-20",
        "bytes=50-60,0-10",
        "items=0-1",
        "bytes=0-18446744073709551615",
        "bytes=0-99999999999999999999999",
        &format!("bytes={}", many.join(",")),
    ] {
        assert_eq!(windows(&site, &write, &file, ranges).await.status, 400, "{ranges}");
    }
    let bare = site.get(&write, &format!("/xet/v2/file-chunk-hashes/{file}")).await;
    assert_eq!(bare.status, 400, "without the header");
    assert_eq!(windows(&site, &write, &file, "bytes=600000-600001").await.status, 416);
    assert_eq!(windows(&site, &write, &file, "bytes=599999-18446744073709551614").await.status, 200);
    let apart: Vec<String> = (0..5_000).map(|i| format!("{}-{}", 100 * i, 100 * i + 1)).collect();
    let told = windows(&site, &write, &file, &format!("bytes={}", apart.join(","))).await.ok().json();
    assert_eq!(told["windows"], json!([{ "dirtyByteRange": [0, 600_000] }]));
    assert_eq!(windows(&site, &write, &XetHash::ZERO, "bytes=0-1").await.status, 404);
    assert_eq!(site.get(&write, "/xet/v2/file-chunk-hashes/..%2f").await.status.as_u16() / 100, 4);
    site.still_works().await;
}

#[tokio::test]
async fn files_of_a_private_repository_are_told_to_its_readers_only() {
    let site = Site::new().await;
    site.repo("hidden", true).await;
    let up = upload_in_terms(34);
    let write = token(&site, &site.ada, "ada/hidden", "write").await;
    send(&site, &write, &up).await;
    site.post(&site.bob, "/api/repos/create", &json!({ "name": "probe" })).await.ok();
    let bobs = token(&site, &site.bob, "bob/probe", "write").await;
    let file = up.shard.files[0].file_hash;
    let foreign = windows(&site, &bobs, &file, "bytes=0-1").await;
    let unknown = windows(&site, &bobs, &XetHash::ZERO, "bytes=0-1").await;
    assert_eq!((foreign.status.as_u16(), unknown.status.as_u16()), (404, 404));
    assert_eq!(
        String::from_utf8_lossy(&foreign.body).replace(&file.to_string(), "?"),
        String::from_utf8_lossy(&unknown.body).replace(&XetHash::ZERO.to_string(), "?"),
        "a file of others looks like one that does not exist"
    );
    assert_eq!(windows(&site, "", &file, "bytes=0-1").await.status, 401);
    assert_eq!(windows(&site, &site.ada, &file, "bytes=0-1").await.status, 401, "a hub token is no Xet token");
    site.repo("other", false).await;
    let elsewhere = token(&site, &site.ada, "ada/other", "write").await;
    assert_eq!(windows(&site, &elsewhere, &file, "bytes=0-1").await.status, 404, "a token is for one repository");
    let read = token(&site, &site.ada, "ada/hidden", "read").await;
    windows(&site, &read, &file, "bytes=0-1").await.ok();
    site.ask(&site.ada, "PUT", "/api/models/ada/hidden/settings", "{\"visibility\":\"public\"}").await.ok();
    let anyone = token(&site, "", "ada/hidden", "read").await;
    windows(&site, &anyone, &file, "bytes=0-1").await.ok();
    site.ask(&site.ada, "PUT", "/api/models/ada/hidden/settings", "{\"visibility\":\"private\"}").await.ok();
    assert_eq!(windows(&site, &anyone, &file, "bytes=0-1").await.refusal(), (404, "RepoNotFound"));
}

#[tokio::test]
async fn many_files_are_planned_at_once() {
    let site = Site::new().await;
    site.repo("m", false).await;
    site.repo("hidden", true).await;
    let (first, second, hidden) = (upload_in_terms(35), upload(36), upload(37));
    let write = token(&site, &site.ada, "ada/m", "write").await;
    send(&site, &write, &first).await;
    send(&site, &write, &second).await;
    send(&site, &token(&site, &site.ada, "ada/hidden", "write").await, &hidden).await;
    let name = |up: &Upload| up.shard.files[0].file_hash.to_string();
    let query: Vec<String> = [&first, &hidden, &second].map(|up| format!("file_id={}", name(up))).into();
    // Nothing names these files yet, so that only those who may write get them.
    let read = token(&site, &site.ada, "ada/m", "read").await;
    for path in ["/xet/v1/reconstructions", "/xet/reconstructions"] {
        let plans = site.get(&read, &format!("{path}?{}", query.join("&"))).await.ok().json();
        let files = plans["files"].as_object().unwrap();
        assert_eq!(files.len(), 2, "what the repository was not given is left out");
        assert_eq!(files[&name(&first)].as_array().unwrap().len(), 5);
        for up in [&first, &second] {
            let single = site.get(&read, &format!("/xet/v1/reconstructions/{}", name(up))).await.ok().json();
            assert_eq!(files[&name(up)], single["terms"]);
            let xorb = up.xorb.listing.hash.to_string();
            assert_eq!(plans["fetch_info"][&xorb][0]["url_range"], single["fetch_info"][&xorb][0]["url_range"]);
        }
    }
    let many: Vec<String> = (0..101).map(|i| format!("file_id={i:064x}")).collect();
    assert_eq!(site.get(&read, &format!("/xet/v1/reconstructions?{}", many.join("&"))).await.status, 400);
    assert_eq!(site.get(&read, "/xet/v1/reconstructions?file_id=x").await.status, 400);
    assert_eq!(site.get("", &format!("/xet/v1/reconstructions?{}", query.join("&"))).await.status, 401);
}
